import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import test from 'node:test';

const ROOT = path.join(import.meta.dirname, '..');

/** The house of docs/design.md: a room may import from itself and from the rooms named here, and from nothing else. */
const ROOMS: Readonly<Record<string, readonly string[]>> = {
  cli: ['mirror', 'webhook', 'containerd', 'certs', 'common'],
  mirror: ['containerd', 'certs', 'common'],
  webhook: ['containerd', 'certs', 'common'],
  containerd: ['certs', 'common'],
  certs: ['common'],
  common: [],
};

function sources(room: string): string[] {
  const folder = path.join(ROOT, room);
  if (!fs.existsSync(folder)) return [];
  return fs
    .readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.ts'))
    .map((file) => path.join(room, file));
}

function imports(file: string): string[] {
  const text = fs.readFileSync(path.join(ROOT, file), 'utf8');
  const found = text.matchAll(/(?:\bfrom|\bimport)\s*\(?\s*'([^']+)'/g);
  return [...found].map(([, specifier]) => specifier as string);
}

for (const [room, below] of Object.entries(ROOMS)) {
  test(`${room}/ imports only from ${below.length === 0 ? 'itself' : below.join(', ')}`, () => {
    const broken: string[] = [];
    for (const file of sources(room)) {
      const isTest = file.endsWith('.test.ts');
      for (const specifier of imports(file).filter((name) => name.startsWith('.'))) {
        const target = path.normalize(path.join(path.dirname(file), specifier)).split(path.sep)[0] as string;
        if (target !== room && !below.includes(target) && !(isTest && target === 'test')) {
          broken.push(`${file} imports ${specifier}`);
        }
      }
    }
    assert.deepEqual(broken, []);
  });
}
