// What a frontend holds of some rows, and how news of them are added: pure functions, no network.
//
// News come from two sides, in any order, twice or not at all: Realtime tells changes, a query tells how things stand.
// The database counts: of two states under one key the one with the higher version is the newer one.

/** What is needed of a row of jobs, images or videos. */
export interface Versioned {
  id: string;
  version: number;
  job_id?: string | null;
  image_index?: number | null;
}

/** A row that was inserted or updated, without the columns that Realtime left out; or the id of one that was deleted. */
export type Change<Row extends Versioned> = { row: Row } | { deleted: string };

export type Rows<Row extends Versioned> = ReadonlyMap<string, Row>;

/** A job's key is its id, an asset's (job_id, image_index). null: the row stands for no result (any more). */
export function keyOf(row: Versioned): string | null {
  if (row.image_index === undefined) return row.id;
  if (row.image_index === null || row.image_index < 0 || !row.job_id) return null;
  return `${row.job_id}/${row.image_index}`;
}

/** The rows after these changes. A change that is older than what is held is passed over. */
export function merge<Row extends Versioned>(held: Rows<Row>, changes: Iterable<Change<Row>>): Rows<Row> {
  const rows = new Map(held);
  for (const change of changes) {
    if ("deleted" in change) {
      for (const [key, row] of rows) if (row.id === change.deleted) rows.delete(key);
      continue;
    }
    const key = keyOf(change.row);
    if (key === null) continue;
    const before = rows.get(key);
    // Realtime leaves out big columns that did not change: they stay as they are.
    if (!before || before.version < change.row.version) rows.set(key, { ...before, ...change.row });
  }
  return rows;
}

/** The rows after a query: its answer, what is held of it that is newer, and the changes told since it was asked. */
export function refresh<Row extends Versioned>(
  held: Rows<Row>,
  answer: Iterable<Row>,
  since: Iterable<Change<Row>>,
): Rows<Row> {
  const rows = new Map<string, Row>();
  for (const row of answer) {
    const key = keyOf(row);
    if (key === null) continue;
    const mine = held.get(key);
    rows.set(key, mine && mine.id === row.id && mine.version > row.version ? { ...row, ...mine } : row);
  }
  return merge(rows, since);
}
