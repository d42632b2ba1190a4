"""What was downloaded into a folder, and the checksum of each file: `Ledger`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from pertinent.data.progress import Listener, Progress, silent
from pertinent.errors import StorageError
from pertinent.files import read_versioned, sha256_file, storage_errors, write_json

_FORMAT = 1


@dataclass(frozen=True)
class Download:
    """What is known of a downloaded file.

    Attributes:
        url: where it came from.
        sha256: of its bytes.
        bytes: how many.
        unpacked: it is an archive, and all of it was unpacked.
        ours: it was downloaded by us, not found in the folder.
    """

    url: str
    sha256: str
    bytes: int
    unpacked: bool = False
    ours: bool = True

    def faults(self, path: Path) -> Iterator[str]:
        """How a file differs from what was downloaded, in one sentence; nothing when it does not."""
        size = path.stat().st_size
        if size != self.bytes:
            yield f"{path} has {size:,} bytes, {self.bytes:,} were downloaded"
            return
        with storage_errors(path, "reading"):
            digest = sha256_file(path)
        if digest != self.sha256:
            yield f"{path} has sha256 {digest}, downloaded was {self.sha256}"


class Ledger:
    """The downloads of one folder, by file name, kept in its `.downloads.json`."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / ".downloads.json"

    def read(self) -> dict[str, Download]:
        """All downloads by file name; raises StorageError when the list is damaged."""
        if not self.path.exists():
            return {}
        rows = read_versioned(self.path, "a list of downloads of", _FORMAT).get("files", {})
        try:
            return {name: Download(**row) for name, row in rows.items()}
        except (TypeError, AttributeError) as error:
            raise StorageError(
                f"{self.path} is damaged ({error}); delete it, and files are taken as they are"
            ) from error

    def faults(self, listener: Listener = silent) -> Iterator[str]:
        """One sentence for each file that is gone or no longer what was downloaded.

        Args:
            listener: hears `checksum` events with `name`, `done`, `total` (bytes), `rate` and `eta`.

        Raises:
            StorageError: the list is damaged, or a file cannot be read.
        """
        folder, downloads = self.path.parent, self.read()
        there = {name: (folder / name).stat().st_size for name in downloads if (folder / name).is_file()}
        progress = Progress("checksum", folder.name, sum(there.values()), listener)
        for name, known in downloads.items():
            if name in there:
                yield from known.faults(folder / name)
                progress.add(there[name])
            elif not known.unpacked:
                yield f"{folder / name} was downloaded and is gone"

    def note(self, name: str, download: Download) -> None:
        """Add or replace one; raises StorageError when it cannot be written."""
        files = {**self.read(), name: download}
        write_json(
            self.path, {"format": _FORMAT, "files": {key: asdict(value) for key, value in sorted(files.items())}}
        )
