import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import path from 'node:path';
import test from 'node:test';

for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  test(`a bench that ${signal} interrupts gives no verdict, nor does the next one begin`, async (t) => {
    const program = path.join(import.meta.dirname, 'bench', 'run.ts');
    const child = spawn(process.execPath, [program, 'announce', 'lookup'], { signal: t.signal });
    const [tables, progress] = [child.stdout.toArray(), [] as string[]];
    child.stderr.on('data', (text: Buffer) => {
      progress.push(text.toString());
      if (progress.length === 1) child.kill(signal);
    });

    const [code] = await once(child, 'close');

    assert.equal(code, 130);
    assert.equal((await tables).length, 0);
    assert.match(progress.join(''), /^announce: .*\nstopping what was started; once more to leave it\n$/);
  });
}

test('a bench that measures nothing fails', async (t) => {
  const program = path.join(import.meta.dirname, 'bench', 'run.ts');
  const child = spawn(process.execPath, [program, 'herd', '--only', 'no such case'], { signal: t.signal });
  const said = child.stderr.toArray();

  const [code] = await once(child, 'close');

  assert.equal(code, 1);
  assert.match(
    (await said).join(''),
    /^herd failed: Error: nothing was measured: it has no case for --only 'no such case'\n/,
  );
});
