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
  // One audit for everything that people change; budgets had one of their own.
  `
  CREATE TABLE audit (
    id INTEGER PRIMARY KEY,
    at_ms INTEGER NOT NULL,
    actor TEXT NOT NULL,
    address TEXT,
    kind TEXT NOT NULL,
    action TEXT NOT NULL,
    subject TEXT NOT NULL,
    before TEXT,
    after TEXT
  ) STRICT;
  CREATE INDEX audit_by_subject ON audit (kind, subject, id);
  INSERT INTO audit (at_ms, actor, kind, action, subject, before, after)
    SELECT at_ms, 'unknown', 'budget', iif(after IS NULL, 'remove', 'set'), key, before, after FROM budget_audit ORDER BY id;
  DROP TABLE budget_audit;
  CREATE TRIGGER audit_stays BEFORE UPDATE ON audit BEGIN SELECT raise(ABORT, 'the audit is append-only'); END;
  CREATE TRIGGER audit_is_kept BEFORE DELETE ON audit BEGIN SELECT raise(ABORT, 'the audit is append-only'); END;

  CREATE TABLE rollouts (
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    body TEXT NOT NULL
  ) STRICT;
  CREATE TABLE rollout_members (
    rollout TEXT NOT NULL,
    device TEXT NOT NULL,
    slot TEXT NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (rollout, device, slot)
  ) STRICT, WITHOUT ROWID;

  CREATE TABLE alert_rules (
    id TEXT PRIMARY KEY,
    body TEXT NOT NULL
  ) STRICT;
  CREATE TABLE alert_states (
    rule TEXT NOT NULL,
    subject TEXT NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (rule, subject)
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE alert_events (
    id INTEGER PRIMARY KEY,
    at_ms INTEGER NOT NULL,
    rule TEXT NOT NULL,
    subject TEXT NOT NULL,
    body TEXT NOT NULL
  ) STRICT;
  CREATE TABLE alert_deliveries (
    id INTEGER PRIMARY KEY,
    created_ms INTEGER NOT NULL,
    target TEXT NOT NULL,
    state TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    next_ms INTEGER NOT NULL,
    reason TEXT,
    body TEXT NOT NULL
  ) STRICT;
  CREATE INDEX alert_deliveries_by_state ON alert_deliveries (state, target, id);
  `,
  // What the page draws over time: means over a step, `fleet` and `site:<id>`.
  `
  CREATE TABLE series (
    scope TEXT NOT NULL,
    step_s INTEGER NOT NULL,
    at_ms INTEGER NOT NULL,
    power_w REAL NOT NULL,
    rate_bps REAL NOT NULL,
    grams_per_hour REAL NOT NULL,
    frames_per_second REAL NOT NULL,
    gap REAL,
    budget REAL,
    devices REAL NOT NULL,
    troubled REAL NOT NULL,
    PRIMARY KEY (scope, step_s, at_ms)
  ) STRICT, WITHOUT ROWID;
  `,
  // Estimates are factors with residuals now; devices teach them again within a minute.
  `
  DELETE FROM estimates;
  `,
  // Budgets say more than a rate or a power: what each may say is the code's to know.
  `
  CREATE TABLE new_budgets (
    key TEXT PRIMARY KEY,
    body TEXT NOT NULL
  ) STRICT;
  INSERT INTO new_budgets SELECT key, CASE
    WHEN rate_bps IS NOT NULL THEN json_object('rateBps', rate_bps)
    ELSE json_object('powerW', power_mw / 1000.0)
  END FROM budgets;
  DROP TABLE budgets;
  ALTER TABLE new_budgets RENAME TO budgets;
  `,
]
