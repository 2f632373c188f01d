"""The tables of a project file. `docs/format.md` describes them for people; change both together.

Two rules shape them. Nothing is ever removed by an action: an object or class that is deleted or undone keeps its
row and its mask tiles and only loses `live`, so undo and redo flip a flag instead of copying masks. And the stored
rectangles follow the objects by triggers, so no code path can forget them.
"""

from __future__ import annotations

APPLICATION_ID = 0x524C4159
"""`PRAGMA application_id` of a project file ("RLAY"); tells it from any other SQLite file."""

SCHEMA_VERSION = 3
"""`PRAGMA user_version` that this program writes."""

TILE = 512
"""Side of a mask tile in level-0 pixels."""

TOTALS = """
CREATE TABLE totals (
    class_id INTEGER NOT NULL REFERENCES classes(id),
    state    TEXT NOT NULL,
    n        INTEGER NOT NULL,
    PRIMARY KEY (class_id, state)
) WITHOUT ROWID;

CREATE TRIGGER objects_counted AFTER INSERT ON objects WHEN new.live = 1 BEGIN
    INSERT INTO totals VALUES (new.class_id, new.state, 1) ON CONFLICT DO UPDATE SET n = n + 1;
END;
CREATE TRIGGER objects_recounted AFTER UPDATE OF live, class_id, state ON objects BEGIN
    UPDATE totals SET n = n - 1 WHERE class_id = old.class_id AND state = old.state AND old.live = 1;
    INSERT INTO totals SELECT new.class_id, new.state, 1 WHERE new.live = 1 ON CONFLICT DO UPDATE SET n = n + 1;
END;
CREATE TRIGGER objects_discounted AFTER DELETE ON objects WHEN old.live = 1 BEGIN
    UPDATE totals SET n = n - 1 WHERE class_id = old.class_id AND state = old.state;
END;
"""
"""How many live objects there are of each class and state; since version 2."""

RAW = """
CREATE TABLE raw_tiles (
    object_id INTEGER NOT NULL REFERENCES objects(id),
    action_id INTEGER NOT NULL REFERENCES actions(id),
    "row"     INTEGER NOT NULL,
    "column"  INTEGER NOT NULL,
    "full"    INTEGER,
    bits      BLOB,
    PRIMARY KEY (object_id, action_id, "row", "column")
);

CREATE TABLE cleanings (
    action_id INTEGER PRIMARY KEY REFERENCES actions(id),
    settings  TEXT NOT NULL
);
"""
"""Masks as they were before cleaning, and the settings of cleaning; since version 3."""

SCHEMA = f"""
CREATE TABLE project (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE classes (
    id        INTEGER PRIMARY KEY AUTOINCREMENT,
    name      TEXT NOT NULL,
    color     TEXT NOT NULL,
    key       TEXT NOT NULL DEFAULT '',
    parent_id INTEGER REFERENCES classes(id),
    position  INTEGER NOT NULL DEFAULT 0,
    live      INTEGER NOT NULL DEFAULT 1 CHECK (live IN (0, 1))
);
CREATE UNIQUE INDEX classes_name ON classes(name) WHERE live = 1;

CREATE TABLE actions (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    kind       TEXT NOT NULL,
    state      TEXT NOT NULL CHECK (state IN ('done', 'undone', 'abandoned', 'log')),
    target_id  INTEGER REFERENCES actions(id),
    summary    TEXT NOT NULL DEFAULT '',
    created    TEXT NOT NULL,
    author     TEXT NOT NULL DEFAULT '',
    program    TEXT NOT NULL DEFAULT '',
    checkpoint TEXT,
    clicks     TEXT,
    views      TEXT,
    actor      TEXT NOT NULL DEFAULT 'user' CHECK (actor IN ('user', 'model'))
);
CREATE INDEX actions_done ON actions(id) WHERE state = 'done';
CREATE INDEX actions_undone ON actions(id) WHERE state = 'undone';

CREATE TABLE objects (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    live       INTEGER NOT NULL DEFAULT 1 CHECK (live IN (0, 1)),
    state      TEXT NOT NULL DEFAULT 'accepted'
               CHECK (state IN ('proposed', 'accepted', 'reviewed', 'locked', 'rejected')),
    class_id   INTEGER NOT NULL REFERENCES classes(id),
    t          INTEGER NOT NULL DEFAULT 0,
    z          INTEGER NOT NULL DEFAULT 0,
    y0         INTEGER NOT NULL,
    x0         INTEGER NOT NULL,
    y1         INTEGER NOT NULL,
    x1         INTEGER NOT NULL,
    area       INTEGER NOT NULL,
    action_id  INTEGER NOT NULL REFERENCES actions(id),
    n_clicks   INTEGER NOT NULL DEFAULT 0,
    score      REAL,
    seconds    REAL,
    checkpoint TEXT,
    author     TEXT NOT NULL DEFAULT '',
    created    TEXT NOT NULL,
    note       TEXT NOT NULL DEFAULT '',
    CHECK (y1 > y0 AND x1 > x0)
);
CREATE INDEX objects_live ON objects(class_id, state) WHERE live = 1;

CREATE TABLE tiles (
    object_id INTEGER NOT NULL REFERENCES objects(id),
    "row"     INTEGER NOT NULL,
    "column"  INTEGER NOT NULL,
    "full"    INTEGER NOT NULL CHECK ("full" IN (0, 1)),
    bits      BLOB,
    PRIMARY KEY (object_id, "row", "column"),
    CHECK ("full" = (bits IS NULL))
);

CREATE TABLE changes (
    action_id INTEGER NOT NULL REFERENCES actions(id),
    entity    TEXT NOT NULL CHECK (entity IN ('object', 'class')),
    entity_id INTEGER NOT NULL,
    "before"  TEXT NOT NULL,
    "after"   TEXT NOT NULL,
    PRIMARY KEY (action_id, entity, entity_id)
) WITHOUT ROWID;

CREATE TABLE replaced_tiles (
    action_id INTEGER NOT NULL REFERENCES actions(id),
    object_id INTEGER NOT NULL REFERENCES objects(id),
    "row"     INTEGER NOT NULL,
    "column"  INTEGER NOT NULL,
    "full"    INTEGER,
    bits      BLOB,
    PRIMARY KEY (action_id, object_id, "row", "column")
);

CREATE TABLE dirty_tiles (
    t        INTEGER NOT NULL,
    z        INTEGER NOT NULL,
    "row"    INTEGER NOT NULL,
    "column" INTEGER NOT NULL,
    stamp    INTEGER NOT NULL,
    PRIMARY KEY (t, z, "row", "column")
) WITHOUT ROWID;

-- t1 = t + 1: with no extent along an axis every volume were 0, and the tree could not tell good splits from bad.
CREATE VIRTUAL TABLE object_boxes USING rtree_i32(id, y0, y1, x0, x1, t0, t1, z0, z1);

CREATE TRIGGER objects_inserted AFTER INSERT ON objects WHEN new.live = 1 BEGIN
    INSERT INTO object_boxes
    VALUES (new.id, new.y0, new.y1, new.x0, new.x1, new.t, new.t + 1, new.z, new.z + 1);
END;
CREATE TRIGGER objects_updated AFTER UPDATE OF live, t, z, y0, x0, y1, x1 ON objects BEGIN
    DELETE FROM object_boxes WHERE id = old.id;
    INSERT INTO object_boxes
    SELECT new.id, new.y0, new.y1, new.x0, new.x1, new.t, new.t + 1, new.z, new.z + 1 WHERE new.live = 1;
END;
CREATE TRIGGER objects_removed AFTER DELETE ON objects BEGIN
    DELETE FROM object_boxes WHERE id = old.id;
END;

CREATE VIEW live_objects AS
    SELECT o.id, c.name AS class, o.state, o.t, o.z, o.y0, o.x0, o.y1, o.x1, o.area, o.n_clicks, o.score,
           o.seconds, o.checkpoint, o.author, o.created, o.note
    FROM objects AS o JOIN classes AS c ON c.id = o.class_id
    WHERE o.live = 1;
{TOTALS}{RAW}"""
