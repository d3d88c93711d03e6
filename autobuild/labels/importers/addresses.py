"""Public addresses and checksums of published data sets, and instructions for those without an address."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Published:
    """One published data set.

    Attributes:
        name: Name of the data set, for ``autobuild fetch name=``.
        about: One line of description.
        page: Web page of the publisher.
        space: The search space of its architectures, and a target as an example.
        url: Direct address of the file; None if the publisher gives none.
        hub: Data set of the Hugging Face Hub that has the file in some folder; its list of files gives the address.
        filename: Name of the file in the cache.
        sha256: Checksum of the file; None if not known. The content is checked in any case.
        by_hand: How to download the file without a direct address.
    """

    name: str
    about: str
    page: str
    space: str
    target: str
    url: str | None = None
    hub: str = ""
    filename: str = ""
    sha256: str | None = None
    by_hand: str = ""


_AUTOBUILD_HUB = "kgmills/AutoBuild"
_DRIVE = "https://drive.usercontent.google.com/download?export=download&confirm=t&id="
_NASLIB_PAGE = "https://github.com/automl/NASLib/tree/zerocost"

PUBLISHED: dict[str, Published] = {
    entry.name: entry
    for entry in (
        Published(
            name="nas_bench_macro",
            about="all 6,561 architectures of a macro space, trained on CIFAR-10 (Su et al., CVPR 2021)",
            page="https://github.com/xiusu/NAS-Bench-Macro",
            space="nas_bench_macro",
            target="mean_acc",
            url="https://raw.githubusercontent.com/xiusu/NAS-Bench-Macro/master/data/nas-bench-macro_cifar10.json",
            filename="nas-bench-macro_cifar10.json",
            sha256="686dee8363cc21cca8c1f321ad5749454f2d9b9ca5972682e137e539bc522297",
        ),
        Published(
            name="accel_nasbench",
            about="about 5,000 MnasNet-style architectures: ImageNet, six devices (Ahmad et al., DAC 2024)",
            page="https://github.com/afzalxo/Accel-NASBench/tree/master/anb_dataset",
            space="mnasnet",
            target="val_top1",
            # The address names a commit, so its content cannot change.
            url="https://raw.githubusercontent.com/afzalxo/Accel-NASBench/dcd4d726b33197dd9bc3d74a20393013398600ae/"
            "anb_dataset/anb_dataset_jsons.tar.gz",
            filename="anb_dataset_jsons.tar.gz",
        ),
        Published(
            name="nas_bench_201",
            about="15,625 cells on three image data sets (Dong & Yang, ICLR 2020)",
            page="https://github.com/D-X-Y/NAS-Bench-201",
            space="nas_bench_201",
            target="acc",
            by_hand="its file is a PyTorch pickle of 2 GB behind a download page: with its own API, write a CSV or "
            "Parquet table, one row a cell, with a column cellstr (api.arch(i)) and the metrics you want",
        ),
        Published(
            name="autobuild_ofa_mbv3",
            about="3,000 OFA-MobileNetV3 architectures: accuracy, three latencies (Mills et al., CVPR 2024)",
            page=f"https://huggingface.co/datasets/{_AUTOBUILD_HUB}",
            hub=_AUTOBUILD_HUB,
            space="ofa_mbv3",
            target="acc",
            filename="ofa_mbv3_custom_cache.pkl",
        ),
        Published(
            name="autobuild_ofa_proxyless",
            about="3,000 OFA-ProxylessNAS architectures: accuracy, three latencies (Mills et al., CVPR 2024)",
            page=f"https://huggingface.co/datasets/{_AUTOBUILD_HUB}",
            hub=_AUTOBUILD_HUB,
            space="ofa_proxyless",
            target="acc",
            filename="ofa_pn_custom_cache.pkl",
        ),
        Published(
            name="naslib_nas_bench_201",
            about="accuracies and zero-cost scores of the cells of NAS-Bench-201 (Krishnakumar et al., NeurIPS 2022)",
            page=_NASLIB_PAGE,
            space="nas_bench_201",
            target="val_accuracy_cifar10",
            url=f"{_DRIVE}1R7n7GpFHAjUZpPISzbhxH0QjubnvZM5H",
            filename="zc_nasbench201.json",
        ),
        Published(
            name="naslib_trans_nas_bench_micro",
            about="results of 4,096 cells on seven tasks, and zero-cost scores (Duan et al., CVPR 2021; NASLib)",
            page=_NASLIB_PAGE,
            space="trans_nas_bench_micro",
            target="val_accuracy_class_scene",
            url=f"{_DRIVE}1SBOVAyhLCBTAJiU_fo7hLRknNrGNqFk7",
            filename="zc_transbench101_micro.json",
        ),
        Published(
            name="naslib_trans_nas_bench_macro",
            about="results of 3,256 macro structures on seven tasks, and zero-cost scores (the same)",
            page=_NASLIB_PAGE,
            space="trans_nas_bench_macro",
            target="val_accuracy_class_scene",
            url=f"{_DRIVE}1teH8JcQsamZngUD_DMQyNkCoUYYSTM0M",
            filename="zc_transbench101_macro.json",
        ),
        Published(
            name="help_nas_bench_201",
            about="latencies of all cells of NAS-Bench-201 on many devices (Lee et al., NeurIPS 2021)",
            page="https://github.com/HayeonLee/HELP/tree/main/data/nasbench201",
            space="nas_bench_201",
            target="-latency_pixel3",
            by_hand="it is a folder of many files: clone the repository, and give its folder data/nasbench201",
        ),
        Published(
            name="nas_bench_graph",
            about="26,206 graph neural networks on nine data sets, here Cora (Qin et al., NeurIPS 2022)",
            page="https://github.com/THUMNLab/NAS-Bench-Graph",
            space="nas_bench_graph.yaml",
            target="valid_perf",
            url="https://raw.githubusercontent.com/THUMNLab/NAS-Bench-Graph/main/light/cora.bench",
            filename="cora.bench",
        ),
    )
}
