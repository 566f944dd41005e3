import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import test from 'node:test';
import { settingsPage } from '../scripts/settings-page.ts';

test('docs/reference/settings.md says what the table of settings says (else run npm run docs)', () => {
  const page = fs.readFileSync(path.join(import.meta.dirname, '../docs/reference/settings.md'), 'utf8');
  assert.equal(page, settingsPage());
});
