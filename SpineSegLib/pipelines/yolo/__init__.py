"""Detectors of vertebrae and what is done in their boxes: paper 002 (YOLO-UNet) and the models it compares with."""
