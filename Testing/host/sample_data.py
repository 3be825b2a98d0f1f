"""The part of Slicer's module SampleData that registers samples (Slicer/Slicer@583e9b3); it has no panel here."""

import sys
import types

import slicer


class SampleDataSource:
    """What is registered; lists of different length raise, as in Slicer."""

    _LISTS = ("uris", "fileNames", "nodeNames", "checksums", "loadFiles", "loadFileTypes")

    def __init__(self, sampleName, customDownloader, thumbnailFileName, **lists):
        if not isinstance(sampleName, str) or not isinstance(thumbnailFileName, str | None):
            raise TypeError(f"a sample's name and thumbnail are text, got {sampleName!r} and {thumbnailFileName!r}")
        if not callable(customDownloader):
            raise NotImplementedError("the host downloads nothing: a sample needs a customDownloader")
        self.sampleName = self.sampleDescription = sampleName
        self.customDownloader, self.thumbnailFileName = customDownloader, thumbnailFileName
        count = len(lists["uris"])  # None raises, as in Slicer
        for name in self._LISTS:
            setattr(self, name, [None] * count if lists[name] is None and name != "fileNames" else lists[name])
            if len(getattr(self, name)) != count:
                raise ValueError("All fields of sample data source must have the same length")

    def __eq__(self, other):
        return str(self) == str(other)

    __hash__ = None

    def __str__(self):
        return "\n".join(f"{name}: {value}" for name, value in vars(self).items())


class SampleDataLogic:
    @staticmethod
    def registerCustomSampleDataCategory(category, title):
        slicer.modules.sampleDataSourceCategories.setdefault(category, {})["title"] = title

    @staticmethod
    def registerCustomSampleDataSource(
        category="Custom", sampleName=None, uris=None, fileNames=None, nodeNames=None, customDownloader=None,
        thumbnailFileName=None, loadFileTypes=None, loadFiles=None, loadFileProperties=None, checksums=None,
    ):  # fmt: skip
        source = SampleDataSource(
            sampleName, customDownloader, thumbnailFileName, uris=uris, fileNames=fileNames, nodeNames=nodeNames,
            checksums=checksums, loadFiles=loadFiles, loadFileTypes=loadFileTypes,
        )  # fmt: skip
        sources = slicer.modules.sampleDataSources.setdefault(category, [])
        if source not in sources:
            sources.append(source)

    @staticmethod
    def sampleDataSourcesByCategory(category=None):
        sources = slicer.modules.sampleDataSources
        return sources if category is None else sources.get(category, [])


def install() -> None:
    """Make ``import SampleData`` work, and the lists in `slicer.modules` that it fills."""
    slicer.modules.sampleDataSources, slicer.modules.sampleDataSourceCategories = {}, {}
    module = types.ModuleType("SampleData")
    module.SampleDataLogic, module.SampleDataSource = SampleDataLogic, SampleDataSource
    sys.modules["SampleData"] = module
