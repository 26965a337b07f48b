// How a frontend adds news to what it holds: node --test, beside the compiled example.

import assert from "node:assert/strict";
import { test } from "node:test";
import { keyOf, merge, refresh } from "./merge.js";

const image = (version, more = {}) => ({ id: "a", job_id: "j", image_index: 0, version, status: `v${version}`, ...more });
const job = (version, more = {}) => ({ id: "j", version, status: `v${version}`, ...more });
const rows = (...list) => new Map(list.map((row) => [keyOf(row), row]));
const told = (...list) => list.map((row) => ({ row }));
const NOTHING = new Map();

function permutations(list) {
  if (list.length < 2) return [list];
  return list.flatMap((each, n) => permutations(list.toSpliced(n, 1)).map((rest) => [each, ...rest]));
}

test("a job's key is its id, a result's its job and index", () => {
  assert.equal(keyOf(job(1)), "j");
  assert.equal(keyOf(image(1)), "j/0");
  assert.equal(keyOf(image(1, { image_index: 5 })), "j/5");
});

test("a row that stands for no result has no key and is not shown", () => {
  for (const loose of [{ image_index: null }, { image_index: -1 }, { job_id: null }]) {
    assert.equal(keyOf(image(9, loose)), null);
    assert.deepEqual(merge(NOTHING, told(image(9, loose))), NOTHING);
    assert.deepEqual(refresh(NOTHING, [image(9, loose)], []), NOTHING);
  }
});

test("changes in any order end with the newest one", () => {
  for (const order of permutations([image(1), image(2), image(3), image(7)])) {
    assert.deepEqual(merge(NOTHING, told(...order)), rows(image(7)));
  }
});

test("a change that is told twice changes nothing the second time", () => {
  const once = merge(NOTHING, told(image(1), image(2)));
  assert.deepEqual(merge(once, told(image(2), image(1), image(2))), once);
});

test("results of one job are told apart, and jobs from results", () => {
  const held = merge(NOTHING, told(image(1), image(2, { id: "b", image_index: 1 }), image(3, { id: "c", job_id: "k" })));
  assert.deepEqual([...held.keys()], ["j/0", "j/1", "k/0"]);
});

test("columns that Realtime left out stay as they are", () => {
  const held = rows(image(1, { metadata: { big: "x" }, progress: 10 }));
  const { status, ...progress } = image(2, { progress: 50 });
  assert.deepEqual(merge(held, told(progress)), rows(image(2, { metadata: { big: "x" }, progress: 50, status: "v1" })));
  assert.equal(status, "v2");
});

test("a column that became null is null", () => {
  assert.deepEqual(merge(rows(image(1, { progress: 50 })), told(image(2, { progress: null }))).get("j/0").progress, null);
});

test("what is held is not changed, but a new map is made", () => {
  const held = rows(image(1));
  merge(held, told(image(2)));
  merge(held, [{ deleted: "a" }]);
  refresh(held, [image(3)], []);
  assert.deepEqual(held, rows(image(1)));
});

test("the application's row replaces ours, in whatever order it is told", () => {
  const ours = image(4);
  const aside = image(5, { image_index: -1 });
  const theirs = image(6, { id: "b", title: "mine" });
  for (const order of permutations([...told(ours, aside, theirs), { deleted: "a" }])) {
    const shown = merge(rows(image(3)), order).get("j/0");
    assert.equal(shown.id, "b");
    assert.equal(shown.version, 6);
  }
});

test("a row that was replaced never comes back", () => {
  const held = rows(image(6, { id: "b" }));
  assert.deepEqual(merge(held, told(image(5), image(4))), held);
});

test("a row that was deleted goes, and only that one", () => {
  const held = rows(image(1), image(2, { id: "b", image_index: 1 }));
  assert.deepEqual([...merge(held, [{ deleted: "a" }]).keys()], ["j/1"]);
  assert.deepEqual(merge(held, [{ deleted: "somebody else's" }]), held);
});

test("after a reconnection the answer brings what was missed and takes what is gone", () => {
  const held = rows(image(1), image(2, { id: "b", image_index: 1 }), image(3, { id: "c", image_index: 2 }));
  const answer = [image(9), image(2, { id: "b", image_index: 1 })];
  assert.deepEqual(refresh(held, answer, []), rows(...answer));
});

test("an answer that is older than what was told meanwhile does not take it back", () => {
  const done = image(5, { status: "completed" });
  assert.deepEqual(refresh(rows(image(1)), [image(4)], told(done)), rows(done));
  assert.deepEqual(refresh(rows(done), [image(4)], []), rows(done));
});

test("a row that was told while the query was under way is kept, and one that was deleted is not", () => {
  const late = image(8, { id: "b", image_index: 1 });
  assert.deepEqual(refresh(NOTHING, [image(1)], told(late)), rows(image(1), late));
  assert.deepEqual(refresh(NOTHING, [image(1)], [{ deleted: "a" }]), NOTHING);
});

test("the answer completes a row that was told without its big columns", () => {
  const held = rows(image(5));
  assert.deepEqual(refresh(held, [image(5, { metadata: {} })], []), rows(image(5, { metadata: {} })));
  assert.deepEqual(refresh(held, [image(4, { metadata: {} })], []), rows(image(5, { metadata: {} })));
});

test("a row that was made anew begins low, and the answer knows better than what is held", () => {
  assert.deepEqual(refresh(rows(image(50)), [image(2, { id: "b" })], []), rows(image(2, { id: "b" })));
});
