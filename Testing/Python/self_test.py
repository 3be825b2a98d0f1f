"""Run the module's own test in a real Slicer and end Slicer with its outcome.

Slicer --testing --no-splash --additional-module-paths SpineSeg --python-script Testing/Python/self_test.py
"""

import sys
import unittest

import slicer


def main() -> None:
    """Open the module, so that its panel is built, and run SpineSegTest."""
    try:
        slicer.util.selectModule("SpineSeg")
        from SpineSeg import SpineSegTest

        result = unittest.TextTestRunner(stream=sys.stdout, verbosity=2).run(
            unittest.defaultTestLoader.loadTestsFromTestCase(SpineSegTest)
        )
        slicer.util.exit(0 if result.wasSuccessful() and result.testsRun else 1)
    except Exception:
        import traceback

        traceback.print_exc()
        slicer.util.exit(1)


main()
