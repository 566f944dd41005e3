/** Exits 0 when node_modules is what package-lock.json says, and what npm ci generates is there. Plain JavaScript: it runs on whatever Node is there before npm ci. */
import { existsSync, readFileSync } from 'node:fs';

function packagesOf(file) {
  try {
    return JSON.parse(readFileSync(new URL(`../${file}`, import.meta.url), 'utf8')).packages;
  } catch {
    return undefined; // npm writes this file last, so nothing is installed, or not all.
  }
}

const wanted = packagesOf('package-lock.json');
const installed = packagesOf('node_modules/.package-lock.json');
const isInstalled =
  existsSync(new URL('../containerd/api/gen', import.meta.url)) &&
  installed !== undefined &&
  Object.entries(wanted).every(([name, { integrity, optional }]) => {
    if (name === '') return true;
    const found = installed[name];
    return found === undefined ? optional === true : found.integrity === integrity;
  }) &&
  Object.keys(installed).every((name) => name in wanted);
process.exitCode = isInstalled ? 0 : 1;
