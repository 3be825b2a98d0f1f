"""The part of Slicer that slicer-core has for real: the scene, the logics, and reading and writing nodes and scenes."""

from pathlib import Path

import slicer
import slicer.util
import vtk

_READERS = {
    "VolumeFile": ("vtkMRMLScalarVolumeNode", "vtkMRMLVolumeArchetypeStorageNode"),
    "SegmentationFile": ("vtkMRMLSegmentationNode", "vtkMRMLSegmentationStorageNode"),
    "TableFile": ("vtkMRMLTableNode", "vtkMRMLTableStorageNode"),
    "ModelFile": ("vtkMRMLModelNode", "vtkMRMLModelStorageNode"),
    "TransformFile": ("vtkMRMLTransformNode", "vtkMRMLTransformStorageNode"),
    "ColorTableFile": ("vtkMRMLColorTableNode", "vtkMRMLColorTableStorageNode"),
}
_SUFFIXES = {
    "SegmentationFile": (".seg.nrrd", ".seg.vtm", ".seg.nhdr"),
    "MarkupsFile": (".mrk.json", ".fcsv"),
    "SceneFile": (".mrb", ".mrml"),
    "TableFile": (".tsv", ".csv", ".schema.csv"),
    "ModelFile": (".stl", ".vtk", ".vtp", ".ply", ".obj"),
    "TransformFile": (".h5", ".tfm", ".mat"),
    "ColorTableFile": (".ctbl", ".cxml"),
}
_LOGICS = {
    "Terminologies": "vtkSlicerTerminologiesModuleLogic",
    "SubjectHierarchy": "vtkSlicerSubjectHierarchyModuleLogic",
    "Volumes": "vtkSlicerVolumesLogic",
    "Models": "vtkSlicerModelsLogic",
    "Segmentations": "vtkSlicerSegmentationsModuleLogic",
    "Markups": "vtkSlicerMarkupsLogic",
    "Tables": "vtkSlicerTablesLogic",
    "Plots": "vtkSlicerPlotsLogic",
    "Texts": "vtkSlicerTextsLogic",
    "Transforms": "vtkSlicerTransformLogic",
    "Units": "vtkSlicerUnitsLogic",
    "VolumeRendering": "vtkSlicerVolumeRenderingLogic",
}


def bootstrap(cache_folder: str) -> tuple:
    """Make `slicer.mrmlScene` as the application does; return (application logic, {module name: logic})."""
    scene, application = slicer.vtkMRMLScene(), slicer.vtkSlicerApplicationLogic()
    cache, data = slicer.vtkCacheManager(), slicer.vtkDataIOManager()  # an .mrb is read through these
    cache.SetRemoteCacheDirectory(cache_folder)
    data.SetCacheManager(cache)
    scene.SetCacheManager(cache)
    scene.SetDataIOManager(data)
    slicer.mrmlScene = scene
    application.SetMRMLScene(scene)
    colors = slicer.vtkSlicerColorLogic()  # with colour legends, unlike the plain one that is there
    colors.SetMRMLApplicationLogic(application)
    vtk.vtkObject.GlobalWarningDisplayOff()  # slicer-core has no files of colours, and says so in red
    application.SetColorLogic(colors)
    colors.SetMRMLScene(scene)
    colors.AddDefaultColorNodes()
    vtk.vtkObject.GlobalWarningDisplayOn()
    application.SetModuleLogic("Colors", colors)
    application.SetSliceLogics(vtk.vtkCollection())
    application.SetViewLogics(vtk.vtkCollection())
    crosshair = slicer.vtkMRMLCrosshairNode()
    crosshair.SetCrosshairName("default")
    scene.AddNode(crosshair)
    logics = {"Colors": colors}
    vtk.vtkObject.GlobalWarningDisplayOff()  # slicer-core has no terminology files, and says so in red
    for name, class_name in _LOGICS.items():
        logic = getattr(slicer, class_name)()
        logic.SetMRMLApplicationLogic(application)
        logic.SetMRMLScene(scene)
        application.SetModuleLogic(name, logic)
        logics[name] = logic
    vtk.vtkObject.GlobalWarningDisplayOn()
    slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(scene, True)
    return application, logics


class CoreIOManager:
    """What `slicer.util.load…` and `save…` ask of qSlicerCoreIOManager, done with the scene's storage nodes."""

    def fileType(self, path):
        name = str(path).lower()
        return next((kind for kind, suffixes in _SUFFIXES.items() if name.endswith(suffixes)), "VolumeFile")

    def fileWriterFileType(self, node):
        return node.GetClassName()

    def loadNodes(self, kind, properties, loaded=None, messages=None):
        scene, path = slicer.mrmlScene, properties["fileName"]
        if not Path(path).is_file():
            return False
        if kind == "SceneFile":
            if properties.get("clear", False):
                scene.Clear(0)
            if path.lower().endswith(".mrb"):
                return bool(scene.ReadFromMRB(path, False))
            scene.SetURL(path)
            return bool(scene.Import())
        if kind == "MarkupsFile":
            storage = scene.AddNewNodeByClass("vtkMRMLMarkupsJsonStorageNode")
            node = storage.AddNewMarkupsNodeFromFile(path)
        else:
            node_class, storage_class = _READERS[kind]
            if properties.get("labelmap"):
                node_class = "vtkMRMLLabelMapVolumeNode"
            name = properties.get("name") or Path(path).name.partition(".")[0]
            node = scene.AddNewNodeByClass(node_class, scene.GenerateUniqueName(name))
            storage = scene.AddNewNodeByClass(storage_class)
            storage.SetFileName(path)
            if kind == "VolumeFile":
                storage.SetSingleFile(bool(properties.get("singleFile", False)))
            if not storage.ReadData(node):
                scene.RemoveNode(storage)
                scene.RemoveNode(node)
                return False
            node.SetAndObserveStorageNodeID(storage.GetID())
            if node.IsA("vtkMRMLDisplayableNode"):
                node.CreateDefaultDisplayNodes()
        if node and loaded is not None:
            loaded.AddItem(node)
        return node is not None

    def saveNodes(self, kind, properties, messages=None):
        scene, path = slicer.mrmlScene, str(properties["fileName"])
        if kind == "SceneFile":
            if path.lower().endswith(".mrb"):
                return bool(scene.WriteToMRB(path))
            scene.SetRootDirectory(str(Path(path).parent))
            scene.SetURL(path)
            return bool(scene.Commit(path))
        node = scene.GetNodeByID(properties["nodeID"])
        node.AddDefaultStorageNode(path)
        node.GetStorageNode().SetFileName(path)
        return bool(node.GetStorageNode().WriteData(node))
