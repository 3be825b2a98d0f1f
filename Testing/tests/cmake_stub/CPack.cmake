# Slicer's file makes the package with CPack; the test looks at the install tree instead.
