/** `npm run docs`: writes the reference pages that are made from code. */
import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { settingsPage } from './settings-page.ts';

const REFERENCE = path.join(import.meta.dirname, '../docs/reference');

mkdirSync(REFERENCE, { recursive: true });
writeFileSync(path.join(REFERENCE, 'settings.md'), settingsPage());
