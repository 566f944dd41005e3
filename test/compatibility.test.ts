import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import test from 'node:test';
import { detectDistribution } from '../containerd/verdict/distribution.ts';
import { judgeContainerd } from '../containerd/verdict/judge-containerd.ts';
import type { Verdict } from '../containerd/verdict/verdict.ts';
import { compatibilityPage } from '../scripts/compatibility-page.ts';
import { evidenceOf, loadContainerdFixtures } from './containerd-fixtures.ts';

const FIXTURES = await loadContainerdFixtures();
/** They leave no trace in a configuration. */
const UNDETECTABLE = ['digitalocean', 'kubeadm', 'vke'];

const short = ({ result, reasons }: Verdict) => ({ result, codes: reasons.map(({ code }) => code) });

for (const fixture of FIXTURES) {
  test(`${fixture.title}, as it comes, is ${fixture.shipped.result}`, async () => {
    assert.deepEqual(short(judgeContainerd(await evidenceOf(fixture, 'shipped'))), fixture.shipped);
  });

  test(`${fixture.title} is ${fixture.fixed === undefined ? 'in need of no fix' : 'compatible once mended'}`, async () => {
    if (fixture.fixed === undefined) return assert.equal(fixture.shipped.result, 'compatible');
    assert.deepEqual(short(judgeContainerd(await evidenceOf(fixture, 'fixed'))), fixture.fixed);
  });

  test(`${fixture.title} is told by its files`, async () => {
    const { config, configFile } = await evidenceOf(fixture, 'shipped');
    const socket = fixture.socket ?? '/run/containerd/containerd.sock';

    const found = detectDistribution({ socket, configFile, config });

    assert.equal(found, UNDETECTABLE.includes(fixture.distribution) ? 'unknown' : fixture.distribution);
  });
}

test('docs/compatibility.md says what the fixtures say (else run npm run docs)', async () => {
  const page = fs.readFileSync(path.join(import.meta.dirname, '../docs/compatibility.md'), 'utf8');
  assert.equal(page, await compatibilityPage());
});

test('docs/guides/check-a-node.md has every reason', () => {
  const read = (file: string) => fs.readFileSync(path.join(import.meta.dirname, '..', file), 'utf8');
  const union = /export type ReasonCode =([^;]+);/.exec(read('containerd/verdict/verdict.ts'))?.[1] ?? '';
  const codes = [...union.matchAll(/'([a-z-]+)'/g)].map(([, code]) => code as string);
  const guide = read('docs/guides/check-a-node.md');

  assert.ok(codes.length > 0);
  assert.deepEqual(
    codes.filter((code) => !guide.includes(`\`${code}\``)),
    [],
  );
});
