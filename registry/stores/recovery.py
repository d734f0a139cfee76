"""`--recover`: what is readable of a damaged journal becomes the journal, and the damaged file is kept beside it."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path

from actors.errors import StartFailed
from registry.stores.files import COMPANIONS, LOGS, keep_private, open_database, sync
from registry.stores.history import check_history
from registry.stores.salvage import Salvaged, SalvagedTable, salvage
from registry.stores.schema import (
    AnyTable,
    Damage,
    bring_up_to_date,
    check,
    damage_told,
    position,
    refuse_emptied,
    refuse_newer,
    rows,
    usable,
)

logger = logging.getLogger(__name__)

_NAMED_KEYS = 20
"""How many of the lost rows of a table are named in the log."""


def recover(path: Path, tables: Sequence[AnyTable]) -> None:
    """Replace a damaged journal by one with what is readable of it, and log what that is; leave a sound one alone.

    Args:
        path: The file.
        tables: The actor's tables.

    Raises:
        JournalDamaged: A newer version wrote it.
        StartFailed: It cannot be opened, or what is kept cannot be written. The damaged file is as it was.
    """
    with usable(path):
        finish_recovery(path)
        if not path.exists():
            return
        keep_private(path)
        damage = _damage(path, tables)
        if damage is None:
            return
        logger.warning("the journal %s is damaged: %s. What is readable of it is kept", path, damage)
        workplace = Path(f"{path}.salvage")
        shutil.rmtree(workplace, ignore_errors=True)
        workplace.mkdir(mode=0o700)
        try:
            found = salvage(path, workplace, tables)
            revision = _next_revision(found)
            fresh = _write(workplace / "fresh.db", tables, found, revision)
            kept = _swap(path, fresh)
        finally:
            shutil.rmtree(workplace, ignore_errors=True)
    _tell(found, revision, kept)


def finish_recovery(path: Path) -> None:
    """Put a recovered file into its place, if a recovery that had come so far was interrupted; raises `OSError`."""
    recovered = _recovered(path)
    if not recovered.exists():
        return
    for end in COMPANIONS:  # of the damaged file, which has its own copies of them: they must not meet the new one
        Path(f"{path}{end}").unlink(missing_ok=True)
    sync(path.parent)
    recovered.replace(path)
    sync(path.parent)


def _recovered(path: Path) -> Path:
    return Path(f"{path}.recovered")


def _damage(path: Path, tables: Sequence[AnyTable]) -> str | None:
    """What is wrong with the file; looks at all of it, through a connection that cannot change it."""
    try:
        with damage_told():
            if not path.stat().st_size:
                refuse_emptied(path)
                return None
            with contextlib.closing(open_database(path, "ro")) as db:
                refuse_newer(path, db)
                check(db, path, tables)
                _check_all(db, tables)
    except Damage as damage:
        return str(damage)
    return None


def _check_all(db: sqlite3.Connection, tables: Sequence[AnyTable]) -> None:
    ((problem,),) = db.execute("PRAGMA integrity_check(1)")
    if problem != "ok":
        raise Damage(" ".join(str(problem).split()))
    position(db)
    for _ in rows(db, tables):
        pass
    check_history(db)


def _next_revision(found: Salvaged) -> int:
    """The revision to go on with. It is a new one, since the state is: who knows the old state must read it anew."""
    at_least = (found.revision or 0) + 1
    # No registry makes a change in every microsecond from 1970 on.
    return at_least if found.certain else max(at_least, time.time_ns() // 1_000)


def _write(path: Path, tables: Sequence[AnyTable], found: Salvaged, revision: int) -> Path:
    path.touch(mode=0o600)
    with contextlib.closing(open_database(path, "rw", "FULL")) as db:
        bring_up_to_date(db, tables)
        db.execute("BEGIN")
        for name, table in found.tables.items():
            db.executemany(f'INSERT INTO "{name}" VALUES (?, ?)', table.rows.items())  # noqa: S608 - our own names
        turn, record = found.turn or (None, None)
        db.execute("UPDATE journal SET revision = ?, turn = ?, record = ?", (revision, turn, record))
        db.execute("COMMIT")
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    if (left := Path(f"{path}-wal")).exists() and left.stat().st_size:
        raise StartFailed(f"what is readable of the journal could not be written to {path}; nothing was changed")
    sync(path)
    return path


def _swap(path: Path, fresh: Path) -> Path:
    """Keep the damaged file under another name, and put the fresh one into its place; safe to be interrupted."""
    kept = _free_name(path)
    for end in ("", *LOGS):
        file = Path(f"{path}{end}")
        if file.exists() and (not end or file.stat().st_size):
            _keep(file, Path(f"{kept}{end}"))
    sync(path.parent)
    fresh.rename(_recovered(path))  # from here on `finish_recovery` can always go on
    finish_recovery(path)
    return kept


def _free_name(path: Path) -> Path:
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    names = (Path(f"{path}.damaged-{stamp}{more}") for more in ("", *(f"-{number}" for number in range(2, 1_000))))
    return next(name for name in names if not name.exists())


def _keep(file: Path, name: Path) -> None:
    """Give a file a second name, or a copy where the file system knows no such thing."""
    try:
        os.link(file, name)
    except FileExistsError:
        raise
    except OSError:
        try:
            shutil.copyfile(file, name)
            name.chmod(0o600)
            sync(name)
        except OSError:
            name.unlink(missing_ok=True)
            raise


def _tell(found: Salvaged, revision: int, kept: Path) -> None:
    for name, table in found.tables.items():
        logger.warning("table %r: %s", name, _account(table))
    if not found.tables:
        logger.warning("nothing could be read: the registry begins anew")
    if found.certain:
        logger.warning("the revision goes on with %d; the history of changes begins anew", revision)
    else:
        logger.warning(
            "%s, so it goes on with %d, the microseconds since 1970: more than there can have been changes;"
            " the history of changes begins anew",
            "no revision could be read"
            if found.revision is None
            else f"revision {found.revision} was found and may not be the latest",
            revision,
        )
    logger.warning("the damaged file is kept as %s; nothing in it was changed", kept)


def _account(table: SalvagedTable) -> str:
    """What was kept and lost of a table, in a sentence."""
    account = f"{len(table.rows)} rows kept, {len(table.lost)} known to be lost"
    if table.lost:
        account += ": " + ", ".join(table.lost[:_NAMED_KEYS])
    if len(table.lost) > _NAMED_KEYS:
        account += f" and {len(table.lost) - _NAMED_KEYS} more"
    return account if table.whole else account + "; there may have been others in pages that cannot be read"
