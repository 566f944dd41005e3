/** The fault matrix: whatever goes wrong, a pull that succeeds without a mirror succeeds with it, not much later. */
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { createRandom } from '../../common/random.ts';
import { CATALOGUE } from '../faults/catalogue.ts';
import { isAsExpected, isLate, type Matrix, runMatrix } from '../faults/matrix.ts';
import { faultsPage, withoutFigures } from '../faults/page.ts';
import { createStage, type Stage } from '../faults/stage.ts';

const DEADLINE_MS = 15 * 60_000;
const SEED = Number(process.env['FAULT_SEED'] ?? Date.now() % 1_000_000);

describe(`the fault matrix, FAULT_SEED=${SEED}`, { timeout: DEADLINE_MS }, () => {
  let stage: Stage;
  let matrix: Matrix;
  before(async () => {
    const signal = AbortSignal.timeout(DEADLINE_MS);
    stage = await createStage(createRandom(SEED), signal);
    matrix = await runMatrix(stage, {}, signal);
  });
  after(() => stage.down());

  for (const { title, faults } of CATALOGUE) {
    for (const fault of faults) {
      test(`${title}: ${fault.title} (${fault.name})`, () => {
        for (const cell of matrix.get(fault) ?? assert.fail('it was not run')) {
          const what = `${cell.column}: ${JSON.stringify(cell)}`;
          assert.ok(isAsExpected(fault, cell), what);
          assert.ok(!isLate(fault, cell), `later than ${fault.boundMs} ms, ${what}`);
        }
      });
    }
  }
});

test('docs/faults.md has the rows and outcomes of the matrix (else run npm run faults -- --write)', () => {
  const page = fs.readFileSync(path.join(import.meta.dirname, '../../docs/faults.md'), 'utf8');
  assert.equal(withoutFigures(page), withoutFigures(faultsPage()));
});
