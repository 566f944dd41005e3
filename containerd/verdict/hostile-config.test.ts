/** Texts at the size limit, made to cost time or stack: each is judged within seconds, and nothing falls over. */
import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import test from 'node:test';
import { detectDistribution } from './distribution.ts';
import { readImageSettings } from './image-settings.ts';
import { mergeConfig } from './merge-config.ts';
import { CONFIG_BYTES_MAX, readConfig } from './read-config.ts';

const SECONDS_MAX = 10;
const OLD = 'plugins."io.containerd.grpc.v1.cri"';

/** As many of the pieces as the limit lets in. */
function fill(piece: (index: number) => string): string {
  const pieces: string[] = [];
  for (let bytes = 0; ; ) {
    const next = piece(pieces.length);
    bytes += Buffer.byteLength(next);
    if (bytes > CONFIG_BYTES_MAX) return pieces.join('');
    pieces.push(next);
  }
}

const half = (text: string) => text.slice(0, CONFIG_BYTES_MAX / 2 - 100);

for (const [title, text] of Object.entries({
  'one key of half a million parts': `${OLD}${half('.a'.repeat(CONFIG_BYTES_MAX))} = 1`,
  'one header of half a million parts': `[${OLD}${half('.a'.repeat(CONFIG_BYTES_MAX))}]`,
  'arrays in arrays': `a = ${'['.repeat(CONFIG_BYTES_MAX / 2 - 10)}${']'.repeat(CONFIG_BYTES_MAX / 2 - 10)}`,
  'tables in tables': `a = ${half('{a='.repeat(CONFIG_BYTES_MAX)).slice(0, 300_000)}1${'}'.repeat(100_000)}`,
  'tens of thousands of tables of one name': fill((index) => `[plugins.p${index}]\nx = 1\n`),
  'tens of thousands of mirrors': fill((index) => `[${OLD}.registry.mirrors.m${index}]\n`),
  'an array of tens of thousands of tables': fill(() => '[[plugins.a]]\nx = 1\n'),
  'a string that does not end': `a = """${'"" '.repeat(300_000)}`,
  'comments alone': fill(() => '# [a]\n'),
})) {
  test(`${title}`, async (t) => {
    const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'miroir-hostile-'));
    t.after(() => fs.rmSync(folder, { recursive: true }));
    const file = path.join(folder, 'config.toml');
    fs.writeFileSync(file, text);
    const startedAt = performance.now();

    for (const version of [
      { major: 1, minor: 7, patch: 0 },
      { major: 2, minor: 4, patch: 0 },
    ]) {
      const config = await readConfig(file, version);
      detectDistribution({ socket: '/run/containerd/containerd.sock', configFile: file, config });
      readImageSettings(mergeConfig(config.files, version).cri, version);
    }

    assert.ok(performance.now() - startedAt < SECONDS_MAX * 1000);
  });
}
