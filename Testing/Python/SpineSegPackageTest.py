"""The extension as it was built or installed: its library can be imported and finds its own files."""

from __future__ import annotations

import sys
import unittest
from pathlib import Path


class SpineSegPackageTest(unittest.TestCase):
    """Runs in Slicer (ctest) and, on an install tree, in the headless tests."""

    def test_import_is_light(self):
        """Importing the library loads no network code."""
        loaded = set(sys.modules)
        import SpineSegLib

        self.assertTrue(SpineSegLib.__version__)
        self.assertFalse({"torch", "monai", "SimpleITK"} & (set(sys.modules) - loaded))

    def test_library_has_its_resources(self):
        """Model cards, recipes and terminology came along, inside the library."""
        from SpineSegLib.resources import FOLDERS, resource

        library = Path(sys.modules["SpineSegLib"].__file__).resolve().parent
        for folder in FOLDERS:
            self.assertTrue(any(resource(folder).iterdir()), folder)
            self.assertEqual(resource(folder).parent.parent, library)


if __name__ == "__main__":
    unittest.main()
