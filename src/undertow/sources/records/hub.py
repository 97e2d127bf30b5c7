"""Datasets from the Hugging Face hub: parquet files only, kept in the hub's own cache."""

from pathlib import Path

from undertow.types import BadInput, MissingExtra


def download(repository: str, patterns: tuple[str, ...] = ("*.parquet",)) -> Path:
    """The folder with the files of a dataset repository that match; downloaded once, then found in the cache.

    Raises MissingExtra without huggingface_hub, BadInput in one line where the hub cannot be reached.
    """
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise MissingExtra("huggingface_hub", "data") from error
    try:
        return Path(snapshot_download(repository, repo_type="dataset", allow_patterns=list(patterns)))
    except Exception as error:  # the client raises its own, its transport's and the system's
        said = next(iter(str(error).splitlines()), "") or type(error).__name__
        raise BadInput(
            f"--data hub: {repository} cannot be downloaded from huggingface.co ({said}); "
            "go online, or give the folder that holds the files: --data DIR"
        ) from error
