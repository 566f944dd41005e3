/** What Miroir makes of a configuration is what containerd itself makes of it: `containerd config dump` says it. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import fs from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import test from 'node:test';
import { promisify } from 'node:util';
import fc from 'fast-check';
import { parse } from 'smol-toml';
import { parseContainerdVersion } from '../../containerd/verdict/containerd-version.ts';
import { readImageSettings } from '../../containerd/verdict/image-settings.ts';
import { mergeConfig } from '../../containerd/verdict/merge-config.ts';
import { readConfig } from '../../containerd/verdict/read-config.ts';
import { configFiles } from '../property/containerd-config-arbitrary.ts';
import { CONTAINERD_VERSIONS, containerdProgram } from './real-containerd.ts';

const RUNS = 60;
const OLD = 'io.containerd.grpc.v1.cri';
const IMAGES = 'io.containerd.cri.v1.images';

for (const version of CONTAINERD_VERSIONS) {
  test(`configurations merge as containerd ${version} merges them`, async (t) => {
    const folder = await fs.mkdtemp(path.join(os.tmpdir(), 'miroir-merge-'));
    t.after(() => fs.rm(folder, { recursive: true }));
    const main = path.join(folder, 'config.toml');
    const parsed = parseContainerdVersion(version);
    assert.ok(parsed);

    await fc.assert(
      fc.asyncProperty(configFiles, async (files) => {
        await fs.rm(path.join(folder, 'conf.d'), { recursive: true, force: true });
        await fs.mkdir(path.join(folder, 'conf.d'));
        for (const [index, text] of files.entries()) {
          const imports = `imports = ["${folder}/conf.d/*.toml"]\n`;
          await fs.writeFile(
            index === 0 ? main : path.join(folder, 'conf.d', `${index}.toml`),
            (index === 0 ? imports : '') + text,
          );
        }

        const theirs = await dump(containerdProgram(version), main);
        const { files: read, problem } = await readConfig(main, parsed);
        const merged = mergeConfig(read, parsed);

        assert.equal(problem, undefined);
        assert.equal(merged.refused !== undefined, theirs === undefined, `refused: ${merged.refused?.why}`);
        if (theirs === undefined) return;
        const settings = readImageSettings(merged.cri, parsed);
        assert.deepEqual(
          {
            // The default since 2.2 is filled in when the plugin starts.
            configPath: settings.configPath.value.startsWith('/etc/containerd/certs.d:')
              ? ''
              : settings.configPath.value,
            mirrors: settings.mirrors.value,
            discard: settings.discardUnpackedLayers.value,
            snapshotter: settings.snapshotter.value,
            downloads: settings.maxConcurrentDownloads.value,
            local: settings.useLocalImagePull.value,
          },
          theirs,
        );
      }),
      { numRuns: RUNS },
    );
  });
}

/** Undefined when containerd refuses the configuration. */
async function dump(program: string, file: string) {
  let text: string;
  try {
    text = (await promisify(execFile)(program, ['--config', file, 'config', 'dump'])).stdout;
  } catch {
    return undefined;
  }
  const plugins = fieldOf(parse(text), 'plugins');
  const cri = fieldOf(plugins, IMAGES) ?? fieldOf(plugins, OLD) ?? fieldOf(plugins, 'cri');
  const containerd = fieldOf(cri, 'containerd') ?? cri;
  const registry = fieldOf(cri, 'registry');
  return {
    configPath: fieldOf(registry, 'config_path'),
    mirrors: Object.keys(fieldOf(registry, 'mirrors') ?? {}).length,
    discard: fieldOf(containerd, 'discard_unpacked_layers'),
    snapshotter: fieldOf(containerd, 'snapshotter'),
    downloads: fieldOf(cri, 'max_concurrent_downloads'),
    local: fieldOf(cri, 'use_local_image_pull') ?? false,
  };
}

function fieldOf(value: unknown, name: string): unknown {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>)[name] : undefined;
}
