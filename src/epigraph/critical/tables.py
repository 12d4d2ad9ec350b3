"""The tables of an atlas, and its file: one SQLite database, or any that SQLAlchemy has a URL for."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from epigraph.errors import AtlasError

try:
    import sqlalchemy as sa
    from sqlalchemy import event, exc
except ImportError:
    why = "an atlas is kept with SQLAlchemy, which is not installed"
    raise AtlasError("E500", "no atlas can be opened", why=why, hint="pip install 'epigraph[atlas]'") from None

VERSION = 2
WAIT = 60.0  # seconds to wait for another process that writes

meta = sa.MetaData()

about = sa.Table("epigraph_atlas", meta, sa.Column("version", sa.Integer, nullable=False))

objectives = sa.Table(
    "objectives",
    meta,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("fingerprint", sa.String(64), unique=True, nullable=False),
    sa.Column("record", sa.JSON, nullable=False),
)

runs = sa.Table(
    "runs",
    meta,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("objective", sa.ForeignKey("objectives.id"), nullable=False),
    sa.Column("seed", sa.BigInteger, nullable=False),
    sa.Column("saddles", sa.Boolean, nullable=False),
    sa.Column("done", sa.Integer, nullable=False),
    sa.Column("ends", sa.JSON, nullable=False),
    sa.Column("lowest", sa.Float),
    sa.Column("bridged", sa.Integer, nullable=False, server_default="0"),
    sa.UniqueConstraint("objective", "seed", "saddles"),
)

points = sa.Table(
    "points",
    meta,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("objective", sa.ForeignKey("objectives.id"), nullable=False, index=True),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("evidence", sa.String(16), nullable=False),
    sa.Column("value", sa.Float, nullable=False),
    sa.Column("index", sa.Integer, nullable=False),
    sa.Column("nullity", sa.Integer, nullable=False),
    sa.Column("predicted", sa.Integer, nullable=False),
    sa.Column("margin", sa.Float, nullable=False),
    sa.Column("spectrum", sa.LargeBinary, nullable=False),
    sa.Column("gradient_norm", sa.Float, nullable=False),
    sa.Column("decrement", sa.Float, nullable=False),
    sa.Column("orbit", sa.Text, nullable=False),
    sa.Column("exact_orbit", sa.Boolean, nullable=False),
    sa.Column("family", sa.Integer, nullable=False),
    sa.Column("doubtful", sa.JSON, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("certificate", sa.JSON),
    sa.Column("x", sa.LargeBinary, nullable=False),
)

sightings = sa.Table(
    "sightings",
    meta,
    sa.Column("point", sa.ForeignKey("points.id"), primary_key=True),
    sa.Column("run", sa.ForeignKey("runs.id"), primary_key=True),
    sa.Column("source", sa.String(16), primary_key=True),
    sa.Column("times", sa.Integer, nullable=False),
)

transitions = sa.Table(
    "transitions",
    meta,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("objective", sa.ForeignKey("objectives.id"), nullable=False, index=True),
    sa.Column("saddle", sa.ForeignKey("points.id"), nullable=False, unique=True),
    sa.Column("low", sa.ForeignKey("points.id")),
    sa.Column("high", sa.ForeignKey("points.id")),
    sa.Column("words", sa.JSON, nullable=False),
    sa.Column("x", sa.LargeBinary, nullable=False),
)


def url_of(where: str | Path) -> sa.URL:
    """A database URL as it is; anything else is the path of a SQLite file."""
    text = str(where)
    return sa.make_url(text) if "://" in text else sa.URL.create("sqlite", database=text)


def connect(where: str | Path, create: bool) -> sa.Engine:
    """An engine for an atlas, its tables made where there are none; one that writes waits for others.

    Raises:
        AtlasError: no such file, not an atlas, made by a newer version.
    """
    url = url_of(where)
    if url.get_backend_name() == "sqlite":
        path = Path(url.database or "")
        if not create and not path.is_file():
            raise AtlasError("E501", f"no such atlas: {path}", hint="epigraph minima TARGET --atlas FILE makes one")
        engine = sa.create_engine(url, connect_args={"timeout": WAIT})
        event.listen(engine, "connect", _prepare)
        event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
    else:
        engine = sa.create_engine(url)
    with told(where), engine.begin() as connection:
        _require_version(where, connection, create)
    return engine


def _prepare(connection: Any, record: Any) -> None:
    """Write-ahead log, every commit on the disk, and transactions that begin when we say so."""
    connection.isolation_level = None
    for line in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {line}")


def _require_version(where: str | Path, connection: sa.Connection, create: bool) -> None:
    present = set(sa.inspect(connection).get_table_names())
    if about.name not in present:
        if present or not create:
            hint = "give the file of an atlas, or a new one"
            raise AtlasError("E502", f"{where} is a database, but no atlas", hint=hint)
        meta.create_all(connection)
        connection.execute(about.insert().values(version=VERSION))
        return
    version = connection.execute(sa.select(about.c.version)).scalar_one()
    if version > VERSION:
        what = f"{where} has version {version}; this is version {VERSION}"
        raise AtlasError("E503", what, hint="update epigraph")
    for step in range(version, VERSION):
        MIGRATIONS[step](connection)
    if version < VERSION:
        connection.execute(about.update().values(version=VERSION))


def _to_second(connection: sa.Connection) -> None:
    """Transitions; sightings of runs that searched minima and saddles under the same names are told apart no more."""
    transitions.create(connection)
    connection.execute(sa.text("ALTER TABLE runs ADD COLUMN bridged INTEGER NOT NULL DEFAULT 0"))
    once = sa.select(runs.c.id).where(runs.c.saddles == sa.true())
    own = sightings.c.run.in_(once) & sightings.c.source.in_(("random", "wide", "smaller"))
    columns = (sightings.c.point, sightings.c.run)
    total = sa.func.sum(sightings.c.times)
    sums = connection.execute(sa.select(*columns, total).where(own).group_by(*columns)).all()
    connection.execute(sightings.delete().where(own))
    for point, run, times in sums:
        connection.execute(sightings.insert().values(point=point, run=run, source="mixed", times=int(times)))


MIGRATIONS = {1: _to_second}  # from a version to the next one; all of them and the new number are one transaction


@contextlib.contextmanager
def told(where: str | Path) -> Iterator[None]:
    """What the database says, as an error with a code; what was committed before stays."""
    try:
        yield
    except exc.SQLAlchemyError as error:
        first = str(getattr(error, "orig", None) or error).splitlines()[0]
        kept = "what was reported before is kept"
        if "locked" in first or "busy" in first:
            what = f"{where} is locked by another process"
            raise AtlasError("E504", what, why=kept, hint="try again when it has ended") from None
        if "full" in first:
            raise AtlasError("E505", f"no space left to write {where}", why=kept, hint="free some space") from None
        if "disk I/O" in first:
            what = f"cannot write {where}: {first}"
            raise AtlasError("E505", what, why=kept, hint="is the disk full, or a quota or limit reached?") from None
        if "not a database" in first or "malformed" in first:
            raise AtlasError("E502", f"{where} is no atlas: {first}", hint="give another file") from None
        raise AtlasError("E506", f"cannot use {where}: {first}", hint="look at the path and its permissions") from None
