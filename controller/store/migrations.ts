/** One entry for each version of the database; never change one that was released, append. */
export const migrations: readonly string[] = [
  `
  CREATE TABLE devices (
    id TEXT PRIMARY KEY,
    state TEXT NOT NULL,
    reason TEXT,
    bd INTEGER NOT NULL,
    last_seen_ms INTEGER NOT NULL
  ) STRICT;

  CREATE TABLE births (
    device TEXT PRIMARY KEY,
    body TEXT NOT NULL,
    received_ms INTEGER NOT NULL
  ) STRICT;

  CREATE TABLE budgets (
    key TEXT PRIMARY KEY,
    rate_bps INTEGER,
    power_mw INTEGER
  ) STRICT;

  CREATE TABLE budget_audit (
    id INTEGER PRIMARY KEY,
    at_ms INTEGER NOT NULL,
    key TEXT NOT NULL,
    before TEXT,
    after TEXT
  ) STRICT;

  CREATE TABLE generation (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    last INTEGER NOT NULL
  ) STRICT;
  INSERT INTO generation VALUES (1, 0);

  CREATE TABLE desired (
    device TEXT PRIMARY KEY,
    gen INTEGER NOT NULL UNIQUE,
    body TEXT NOT NULL
  ) STRICT;

  CREATE TABLE telemetry (
    device TEXT PRIMARY KEY,
    boot TEXT NOT NULL,
    seq INTEGER NOT NULL,
    mono_ms REAL NOT NULL,
    past_boots TEXT NOT NULL,
    body TEXT NOT NULL,
    base TEXT NOT NULL
  ) STRICT;

  CREATE TABLE samples (
    device TEXT NOT NULL,
    at_ms INTEGER NOT NULL,
    boot TEXT NOT NULL,
    seq INTEGER NOT NULL,
    mono_ms REAL NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (device, boot, seq)
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX samples_by_time ON samples (device, at_ms);

  CREATE TABLE estimates (
    device TEXT NOT NULL,
    slot TEXT NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (device, slot)
  ) STRICT;

  CREATE TABLE decisions (
    id INTEGER PRIMARY KEY,
    device TEXT NOT NULL,
    slot TEXT NOT NULL,
    gen INTEGER NOT NULL,
    at_ms INTEGER NOT NULL,
    body TEXT NOT NULL
  ) STRICT;
  CREATE INDEX decisions_by_slot ON decisions (device, slot, id);
  `,
  // Counters by boot: those of a boot that was offline may come after those of the next.
  `
  CREATE TABLE boots (
    device TEXT NOT NULL,
    boot TEXT NOT NULL,
    number INTEGER,
    met INTEGER NOT NULL,
    contact_zero_ms REAL,
    own_zero_ms REAL,
    last_mono_ms REAL NOT NULL,
    PRIMARY KEY (device, boot)
  ) STRICT, WITHOUT ROWID;
  INSERT INTO boots SELECT device, boot, NULL, 1, NULL, NULL, mono_ms FROM telemetry;

  CREATE TABLE boot_counters (
    device TEXT NOT NULL,
    boot TEXT NOT NULL,
    seq INTEGER NOT NULL,
    mono_ms REAL NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (device, boot)
  ) STRICT, WITHOUT ROWID;
  INSERT INTO boot_counters SELECT device, boot, seq, mono_ms, body FROM telemetry;

  CREATE TABLE past_counters (
    device TEXT PRIMARY KEY,
    boots TEXT NOT NULL,
    body TEXT NOT NULL
  ) STRICT;
  INSERT INTO past_counters SELECT device, past_boots, base FROM telemetry;

  DROP TABLE telemetry;
  DELETE FROM samples;

  CREATE TABLE events (
    device TEXT NOT NULL,
    boot TEXT NOT NULL,
    seq INTEGER NOT NULL,
    mono_ms REAL NOT NULL,
    received_ms INTEGER NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (device, boot, seq)
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX events_by_time ON events (device, received_ms);
  `,
  // Estimates are factors with residuals now; devices teach them again within a minute.
  `
  DELETE FROM estimates;
  `,
  // What was learned about how wide bounds must be.
  `
  CREATE TABLE bounds (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    body TEXT NOT NULL
  ) STRICT;
  `,
]
