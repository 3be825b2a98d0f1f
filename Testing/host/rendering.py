"""Slice views and 3D views without a screen: slicer-core's own displayable managers on EGL or Mesa's software GL."""

import slicer
import vtk
from vtk.util.numpy_support import vtk_to_numpy

_SLICE_MANAGERS = ("ModelSlice", "OrientationMarker", "Ruler", "ScalarBar", "ColorLegend", "Segmentations2D", "Markups")
_3D_MANAGERS = ("Camera", "View", "Model", "Segmentations3D", "Markups", "VolumeRendering")


def _manager(name):
    stem, dimension = (name[:-2], name[-2:]) if name[-2:] in ("2D", "3D") else (name, "")
    return f"vtkMRML{stem}DisplayableManager{dimension}"


class _Window:
    """A render window without a screen."""

    def __init__(self, size):
        self.size = tuple(size)
        self.window = vtk.vtkRenderWindow()
        self.window.SetOffScreenRendering(1)
        self.window.SetShowWindow(False)
        self.window.SetMultiSamples(0)
        self.window.SetSize(*self.size)
        if self.window.GetClassName() in ("vtkRenderWindow", "vtkOSOpenGLRenderWindow"):  # VTK found neither EGL nor X
            raise RuntimeError(
                "no OpenGL: the pictures need EGL with Mesa's software renderer. "
                "On Debian or Ubuntu: apt-get install libegl1 libgl1-mesa-dri"
            )

    def snapshot(self, path=None):
        """Render; return the picture as an array (height, width, 3) of uint8, and write it as PNG to `path`."""
        self.window.Render()
        grab = vtk.vtkWindowToImageFilter()
        grab.SetInput(self.window)
        grab.ReadFrontBufferOff()
        grab.Update()
        if path is not None:
            writer = vtk.vtkPNGWriter()
            writer.SetFileName(str(path))
            writer.SetInputConnection(grab.GetOutputPort())
            writer.Write()
        width, height, _ = grab.GetOutput().GetDimensions()
        return vtk_to_numpy(grab.GetOutput().GetPointData().GetScalars()).reshape(height, width, -1)[::-1].copy()


class _View(_Window):
    """A render window with the displayable managers of one kind of view."""

    def __init__(self, factory, managers, size):
        super().__init__(size)
        self.renderer = vtk.vtkRenderer()
        self.window.AddRenderer(self.renderer)
        self.interactor = vtk.vtkRenderWindowInteractor()
        self.interactor.SetRenderWindow(self.window)
        self.interactor.Initialize()
        instance = factory.GetInstance()
        instance.SetMRMLApplicationLogic(slicer.app.applicationLogic())
        for name in map(_manager, managers):
            if not instance.IsDisplayableManagerRegistered(name):
                instance.RegisterDisplayableManager(name)
        self.group = slicer.vtkMRMLDisplayableManagerGroup()
        self.group.SetRenderer(self.renderer)
        self.group.Initialize(instance, self.renderer)


class SliceView(_View):
    """``SliceView("Sagittal").show(volume).snapshot("sagittal.png")``."""

    def __init__(self, orientation="Axial", size=(500, 500), name=None):
        super().__init__(slicer.vtkMRMLSliceViewDisplayableManagerFactory, _SLICE_MANAGERS, size)
        self.image = vtk.vtkImageMapper()
        self.image.SetColorWindow(255)
        self.image.SetColorLevel(127.5)
        self.actor = vtk.vtkActor2D()
        self.actor.SetMapper(self.image)
        self.actor.GetProperty().SetDisplayLocationToBackground()
        self.actor.SetVisibility(False)  # until there is an image
        # Before all that lies upon it, as in Slicer: what is translucent is blended with what was drawn before.
        self.renderer.AddViewProp(self.actor)
        self.renderer.GetActiveCamera().ParallelProjectionOn()
        logics = slicer.app.applicationLogic()
        self.logic = slicer.vtkMRMLSliceLogic()
        self.logic.SetMRMLApplicationLogic(logics)
        logics.GetSliceLogics().AddItem(self.logic)
        self.logic.SetMRMLScene(slicer.mrmlScene)
        self.node = self.logic.AddSliceNode(name or slicer.mrmlScene.GenerateUniqueName(f"Host{orientation}"))
        self.node.SetOrientation(orientation)
        self.node.SetMappedInLayout(1)
        self.group.SetMRMLDisplayableNode(self.node)

    def show(self, volume, at=None, *, to_volume_plane=False):
        """Show a volume, fitted; through the RAS position `at` (mm) if given; in the volume's own plane if asked."""
        self.logic.GetSliceCompositeNode().SetBackgroundVolumeID(volume.GetID())
        if to_volume_plane:
            self.node.RotateToVolumePlane(volume)
        self.logic.ResizeSliceNode(*self.size)
        self.logic.FitSliceToBackground()
        if at is not None:
            self.node.JumpSliceByOffsetting(*map(float, at))
        return self

    def snapshot(self, path=None):
        if connection := self.logic.GetImageDataConnection():
            self.image.SetInputConnection(connection)
            self.actor.SetVisibility(True)
        return super().snapshot(path)


class ThreeDView(_View):
    """Everything visible in 3D: ``ThreeDView().fit().snapshot("surface.png")``."""

    def __init__(self, size=(500, 500), name=None):
        super().__init__(slicer.vtkMRMLThreeDViewDisplayableManagerFactory, _3D_MANAGERS, size)
        logics = slicer.app.applicationLogic()
        self.logic = slicer.vtkMRMLViewLogic()
        self.logic.SetMRMLApplicationLogic(logics)
        logics.GetViewLogics().AddItem(self.logic)
        self.logic.SetMRMLScene(slicer.mrmlScene)
        self.node = self.logic.AddViewNode(name or slicer.mrmlScene.GenerateUniqueName("Host3D"))
        self.node.SetMappedInLayout(1)
        self.group.SetMRMLDisplayableNode(self.node)
        self.renderer.SetBackground(1, 1, 1)

    def fit(self, direction=None):
        """Look from in front (or a vtkMRMLCameraNode direction) at all that is there, without the box."""
        manager = self.group.GetDisplayableManagerByClassName("vtkMRMLCameraDisplayableManager")
        self.node.SetBoxVisible(0)
        self.node.SetAxisLabelsVisible(0)
        self.renderer.ResetCamera()
        manager.GetCameraNode().RotateTo(slicer.vtkMRMLCameraNode.Anterior if direction is None else direction)
        self.renderer.ResetCamera()
        self.renderer.ResetCameraClippingRange()
        return self


class PlotView(_Window):
    """``PlotView().show(chart).snapshot("plot.png")``; draws what Slicer's qMRMLPlotView draws, which needs Qt."""

    def __init__(self, size=(600, 400)):
        super().__init__(size)
        self.view = vtk.vtkContextView()
        self.view.SetRenderWindow(self.window)
        self.chart = vtk.vtkChartXY()
        self.view.GetScene().AddItem(self.chart)
        self.view.GetRenderer().SetBackground(1, 1, 1)

    def show(self, node):
        """Draw a vtkMRMLPlotChartNode: bars, and lines without markers."""
        self.chart.ClearPlots()
        for number in range(node.GetNumberOfPlotSeriesNodes()):
            self._add(node.GetNthPlotSeriesNode(number))
        self.chart.SetTitle(node.GetTitle() if node.GetTitleVisibility() else "")
        self.chart.GetTitleProperties().SetFontSize(node.GetTitleFontSize())
        self.chart.SetShowLegend(node.GetLegendVisibility())
        self.chart.GetLegend().GetLabelProperties().SetFontSize(node.GetLegendFontSize())
        for place, name in ((vtk.vtkAxis.BOTTOM, "X"), (vtk.vtkAxis.LEFT, "Y")):
            axis = self.chart.GetAxis(place)
            axis.SetTitle(getattr(node, f"Get{name}AxisTitle")() or "")
            if not getattr(node, f"Get{name}AxisRangeAuto")():
                axis.SetBehavior(vtk.vtkAxis.FIXED)
                axis.SetUnscaledRange(getattr(node, f"Get{name}AxisRange")())
            axis.SetGridVisible(node.GetGridVisibility())
            axis.GetTitleProperties().SetFontSize(node.GetAxisTitleFontSize())
            axis.GetLabelProperties().SetFontSize(node.GetAxisLabelFontSize())
        return self

    def _add(self, series):
        kinds = slicer.vtkMRMLPlotSeriesNode
        bars = series.GetPlotType() == kinds.PlotTypeBar
        if not bars and series.GetMarkerStyle() != kinds.MarkerStyleNone:
            raise NotImplementedError("the host draws no markers")
        plot = vtk.vtkPlotBar() if bars else vtk.vtkPlotLine()
        y = series.GetYColumnName()
        plot.SetUseIndexForXSeries(bars)
        plot.SetInputData(series.GetTableNode().GetTable(), y if bars else series.GetXColumnName(), y)
        plot.SetColorF(*series.GetColor())
        plot.SetWidth(series.GetLineWidth())
        plot.SetLabel(series.GetName())
        if not bars:
            plot.SetMarkerStyle(vtk.vtkPlotLine.NONE)
        self.chart.AddPlot(plot)
