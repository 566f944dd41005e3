/** `npm run faults`: does everything wrong that can go wrong, tells what came of it, and with --write puts it into docs/faults.md. */
import fs from 'node:fs';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { createRandom } from '../../common/random.ts';
import { isAsExpected, isLate, runMatrix } from './matrix.ts';
import { faultsPage } from './page.ts';
import { createStage } from './stage.ts';

const PAGE = path.join(import.meta.dirname, '../../docs/faults.md');
const DEADLINE_MS = 20 * 60_000;

const { values } = parseArgs({
  options: {
    only: { type: 'string', multiple: true },
    seed: { type: 'string', default: String(Date.now() % 1_000_000) },
    write: { type: 'boolean', default: false },
  },
});
const say = (line: string) => process.stdout.write(`${line}\n`);
const signal = AbortSignal.timeout(DEADLINE_MS);
const startedAt = performance.now();
say(`seed ${values.seed}`);
const stage = await createStage(createRandom(Number(values.seed)), signal);
let wrongCount = 0;
try {
  const matrix = await runMatrix(
    stage,
    {
      ...(values.only && { only: values.only }),
      onRow: (fault, cells) => {
        say(`${fault.name}: ${fault.title}`);
        for (const cell of cells) {
          const isWrong = isLate(fault, cell) || !isAsExpected(fault, cell);
          wrongCount += Number(isWrong);
          const share = `${Math.round(cell.upstreamShare * 100)} % from upstream`;
          const what = `${cell.outcome} (${cell.without} without), ${Math.round(cell.extraMs)} ms, ${share}`;
          say(`  ${isWrong ? 'WRONG ' : ''}${cell.column}: ${what}${isWrong ? ` ${cell.error ?? ''}` : ''}`);
        }
      },
    },
    signal,
  );
  if (values.write && values.only === undefined) fs.writeFileSync(PAGE, faultsPage(matrix));
} finally {
  await stage.down();
}
say(`${Math.round((performance.now() - startedAt) / 1000)} s, ${wrongCount} cells are not as they should be`);
process.exitCode = wrongCount > 0 ? 1 : 0;
