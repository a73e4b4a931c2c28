"""Numbers that the papers print, to stand beside what is measured."""

from collections.abc import Mapping
from typing import NamedTuple


class Published(NamedTuple):
    """A printed result.

    Attributes:
        text: as printed.
        perplexity: whether it is one, and no accuracy in percent.
    """

    text: str
    perplexity: bool = False


def _accuracies(**values: str) -> Mapping[str, Published]:
    return {label: Published(f"best accuracy {text}") for label, text in values.items()}


def _percentages(rows: Mapping[str, float]) -> Mapping[str, Published]:
    return {label: Published(f"final top-1 {value} %") for label, value in rows.items()}


# Best validation accuracy (the ARSG paper, section 5; the NAMSG paper, section 5.2; the
# AdaRem paper's tables), for Penn Treebank perplexity.
PUBLISHED_NUMBERS: Mapping[str, Mapping[str, Published]] = {
    "cifar10-resnet20-fine": _accuracies(
        SGD=".9151±.0021",
        Adam=".9079±.0026",
        NAdam=".9080±.0022",
        AMSGrad=".9045±.0013",
        Ranger=".9102±.0022",
        RSG=".9161±.0018",
        ARSG=".9157±.0019",
        ARSGB=".9196±.0014",
    ),
    "imagenet-resnet50": _accuracies(
        SGD=".7559", Adam1=".7249", Adam2=".7386", ARSG1=".7524", ARSG2=".7579"
    ),
    "namsg-cifar10": _accuracies(SWNTS1=".9158"),
    "adarem-imagenet": _percentages(
        {
            "ResNet-18 SGDM": 70.67,
            "ResNet-18 Adam": 67.07,
            "ResNet-18 AdamW": 67.55,
            "ResNet-18 AdaRem": 70.67,
            "ResNet-18 AdaRem-S": 70.89,
            "MobileNetV2-1.0 SGDM": 70.71,
            "MobileNetV2-1.0 AdaRem-S": 71.71,
            "MobileNetV2-0.5 SGDM": 62.99,
            "MobileNetV2-0.5 AdaRem-S": 64.01,
            "ShuffleNetV2-1.0 SGDM": 67.37,
            "ShuffleNetV2-1.0 AdaRem-S": 68.33,
            "ShuffleNetV2-0.5 SGDM": 57.75,
            "ShuffleNetV2-0.5 AdaRem-S": 60.15,
        }
    ),
    "adarem-ptb": {
        "SGDM": Published("test perplexity 71.56", perplexity=True),
        "Adam": Published("test perplexity 70.16", perplexity=True),
        "AdaRem": Published("test perplexity 69.13", perplexity=True),
    },
}
