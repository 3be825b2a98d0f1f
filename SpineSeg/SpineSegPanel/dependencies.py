"""Offering to install what the worker process needs, when it is needed and not before."""

import importlib.util

from slicer.i18n import tr as _


def ensure_dependencies(requirementsFile: str, torch: bool = True) -> None:
    """Offer to install what is missing.

    :param torch: whether a network is to run
    :raises RuntimeError: the user declined, or it cannot be installed here
    """
    if torch and importlib.util.find_spec("torch") is None:
        try:
            import PyTorchUtils
        except ImportError:
            raise RuntimeError(
                _("PyTorch is missing: install the extension 'PyTorch' (Extensions Manager), then try again.")
            ) from None
        if PyTorchUtils.PyTorchUtilsLogic().installTorch(askConfirmation=True) is None:
            raise RuntimeError(_("PyTorch was not installed, and the models need it: click again to try again."))
    import slicer.packaging

    slicer.packaging.pip_ensure(slicer.packaging.load_requirements(requirementsFile), requester="SpineSeg")
