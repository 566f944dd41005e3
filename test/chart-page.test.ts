import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import test from 'node:test';
import { parse } from 'yaml';
import { chartPage } from '../scripts/chart-page.ts';

const read = (file: string) => fs.readFileSync(path.join(import.meta.dirname, '..', file), 'utf8');

test('charts/miroir/README.md says what values.yaml says (else run npm run docs)', () => {
  assert.equal(read('charts/miroir/README.md'), chartPage());
});

test('the chart has the version of Miroir', () => {
  const { version, appVersion } = parse(read('charts/miroir/Chart.yaml')) as Record<string, string>;
  const { version: ours } = JSON.parse(read('package.json')) as { readonly version: string };

  assert.deepEqual({ version, appVersion }, { version: ours, appVersion: ours });
});
