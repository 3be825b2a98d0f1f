"""The parameter node: what the user chose in the panel, saved with the scene."""

from typing import Annotated

from slicer import (
    vtkMRMLMarkupsFiducialNode,
    vtkMRMLMarkupsNode,
    vtkMRMLScalarVolumeNode,
    vtkMRMLSegmentationNode,
    vtkMRMLTableNode,
)
from slicer.parameterNodeWrapper import WithinRange, parameterNodeWrapper

from SpineSegPanel.choices import BatchSource, Device, Explanation, Modality, Precision, Split, TopLevel


@parameterNodeWrapper
class SpineSegParameterNode:
    """What the user chose; saved with the scene."""

    inputVolume: vtkMRMLScalarVolumeNode
    modality: Modality = Modality.AUTO
    modelName: str = ""
    outputSegmentation: vtkMRMLSegmentationNode
    truthSegmentation: vtkMRMLSegmentationNode
    metricsTable: vtkMRMLTableNode
    device: Device = Device.AUTO
    weightsFile: str = ""
    precision: Precision = Precision.AUTO
    threshold: Annotated[float, WithinRange(0.0, 0.99)] = 0.0  # the model's own
    topLevel: TopLevel = TopLevel.AUTO
    vertebrae: Split = Split.AUTO
    keepProbability: bool = False
    confidence: bool = False
    refinedSegmentation: vtkMRMLSegmentationNode
    splitMarkups: vtkMRMLMarkupsNode  # a line, or points
    addPoint: vtkMRMLMarkupsFiducialNode
    pointModel: str = ""
    evaluatedSegmentation: vtkMRMLSegmentationNode
    evaluatedTruth: vtkMRMLSegmentationNode
    evaluationTable: vtkMRMLTableNode
    showErrors: bool = True
    predictionsFolder: str = ""
    truthsFolder: str = ""
    pairsFile: str = ""
    casesTable: vtkMRMLTableNode
    explanation: Explanation = Explanation.GRADCAM
    mapVolume: vtkMRMLScalarVolumeNode
    batchSource: BatchSource = BatchSource.FOLDER
    batchFolder: str = ""
    batchTable: str = ""
    batchTruths: str = ""
    batchOut: str = ""
    batchModel: str = ""
    batchPictures: bool = False
    batchReports: bool = False
    batchDicom: bool = False
    batchResults: vtkMRMLTableNode
