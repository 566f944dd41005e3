/** `npm run docs`: writes the pages that are made from code and fixtures. */
import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { chartPage } from './chart-page.ts';
import { compatibilityPage } from './compatibility-page.ts';
import { settingsPage } from './settings-page.ts';

const DOCS = path.join(import.meta.dirname, '../docs');
const REFERENCE = path.join(DOCS, 'reference');

mkdirSync(REFERENCE, { recursive: true });
writeFileSync(path.join(REFERENCE, 'settings.md'), settingsPage());
writeFileSync(path.join(DOCS, 'compatibility.md'), await compatibilityPage());
writeFileSync(path.join(DOCS, '../charts/miroir/README.md'), chartPage());
