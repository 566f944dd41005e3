import type { ReasonCode, VerdictResult } from '../../containerd/verdict/verdict.ts';
import type { ContainerdVersion } from './real-containerd.ts';

/** A configuration of a real containerd, what is said of it, and what its pulls really do. */
export interface VerdictCase {
  readonly title: string;
  readonly version: ContainerdVersion;
  /** The configuration, from one in which everything is well. `folder` is what config_path's folder, `certs.d`, is in. */
  readonly configToml: (good: string, folder: string) => string;
  /** A file that the configuration imports. */
  readonly dropIn?: string;
  readonly result: VerdictResult;
  readonly codes: readonly ReasonCode[];
  /** Whether a pull asks the mirror. */
  readonly reaches: boolean;
  /** Whether the layer is there after the pull; undefined when nothing can be pulled. */
  readonly keeps: boolean | undefined;
}

const OLD = 'io.containerd.grpc.v1.cri';
const IMAGES = 'io.containerd.cri.v1.images';

const COMPATIBLE = { result: 'compatible', codes: [], reaches: true, keeps: true } as const;
const NOT_ASKED = { result: 'incompatible', reaches: false, keeps: undefined } as const;

const withoutPath = (good: string) => good.replace(/^config_path = .*$/m, '');
const withPath = (value: string) => (good: string) => good.replace(/^config_path = .*$/m, `config_path = "${value}"`);
const plus = (lines: string) => (good: string) => `${good}\n${lines}\n`;
const listOf = (good: string, folder: string) => withPath(`/nowhere/certs.d:${folder}/certs.d`)(good);
const after = (good: string, header: string, line: string) => good.replace(`[${header}]\n`, `[${header}]\n${line}\n`);
const inImages = (good: string, line: string) => after(good, `plugins."${IMAGES}"`, line);
const importing = (good: string, folder: string) => `imports = ["${folder}/conf.d/*.toml"]\n${good}`;
/** The configuration of 2.4 in the names that 1.x has, with a runtime or without. */
const inOldNames = (good: string, version: number, runtimes = '') =>
  good
    .replace(/^version = 3$/m, `version = ${version}`)
    .replace(`[plugins."${IMAGES}"]`, `[plugins."${OLD}".containerd]`)
    .replace(`[plugins."${IMAGES}".registry]`, `[plugins."${OLD}".registry]`)
    .concat(runtimes);
const RUNC = `\n[plugins."${OLD}".containerd.runtimes.runc]\nruntime_type = "io.containerd.runc.v2"\n`;

const ONE: readonly Omit<VerdictCase, 'version'>[] = [
  { title: 'config_path set', configToml: (good) => good, ...COMPATIBLE },
  { title: 'no config_path', configToml: withoutPath, codes: ['config-path-empty'], ...NOT_ASKED },
  { title: 'config_path a list', configToml: listOf, ...COMPATIBLE },
  {
    title: 'config_path another folder',
    configToml: withPath('/nowhere/certs.d'),
    codes: ['config-path-elsewhere'],
    ...NOT_ASKED,
  },
  {
    title: 'mirrors beside config_path',
    configToml: plus(`[plugins."${OLD}".registry.mirrors."registry.example"]\nendpoint = ["http://127.0.0.1:9"]`),
    codes: ['mirrors-beside-config-path'],
    ...NOT_ASKED,
  },
  {
    title: 'configs with tls beside config_path',
    configToml: plus(`[plugins."${OLD}".registry.configs."registry.example".tls]\ninsecure_skip_verify = true`),
    codes: ['mirrors-beside-config-path'],
    ...NOT_ASKED,
  },
  {
    title: 'discard_unpacked_layers',
    configToml: (good) => after(good, `plugins."${OLD}".containerd`, 'discard_unpacked_layers = true'),
    result: 'incompatible',
    codes: ['layers-discarded'],
    reaches: true,
    keeps: false,
  },
  {
    title: 'the section of containerd 2',
    configToml: (good) => good.replace(`[plugins."${OLD}".registry]`, `[plugins."${IMAGES}".registry]`),
    codes: ['section-not-read', 'config-path-empty'],
    ...NOT_ASKED,
  },
  {
    title: 'a drop-in about something else, which replaces the whole section',
    configToml: importing,
    dropIn: `version = 2\n[plugins."${OLD}"]\nmax_container_log_line_size = 1\n[plugins."${OLD}".containerd]\nsnapshotter = "native"\n`,
    codes: ['section-replaced', 'config-path-empty'],
    ...NOT_ASKED,
  },
  {
    title: 'a configuration of version 1',
    configToml: (good) =>
      good.replace('version = 2\n', '').replaceAll(`"${OLD}"`, 'cri').replace('"io.containerd.internal.v1.opt"', 'opt'),
    ...COMPATIBLE,
  },
];

const TWO: readonly Omit<VerdictCase, 'version'>[] = [
  { title: 'config_path set', configToml: (good) => good, ...COMPATIBLE },
  {
    title: 'no config_path: the default is a list',
    configToml: withoutPath,
    codes: ['config-path-list'],
    ...NOT_ASKED,
  },
  { title: 'config_path a list', configToml: listOf, codes: ['config-path-list'], ...NOT_ASKED },
  {
    title: 'config_path a list, use_local_image_pull',
    configToml: (good, folder) => inImages(listOf(good, folder), 'use_local_image_pull = true'),
    ...COMPATIBLE,
  },
  {
    title: 'config_path a list, another number of downloads',
    configToml: (good, folder) => inImages(listOf(good, folder), 'max_concurrent_downloads = 5'),
    ...COMPATIBLE,
  },
  {
    title: 'config_path a list, discard_unpacked_layers: asked, but nothing stays',
    configToml: (good, folder) => inImages(listOf(good, folder), 'discard_unpacked_layers = true'),
    result: 'incompatible',
    codes: ['layers-discarded'],
    reaches: true,
    keeps: false,
  },
  {
    title: 'config_path another folder',
    configToml: withPath('/nowhere/certs.d'),
    codes: ['config-path-elsewhere'],
    ...NOT_ASKED,
  },
  {
    title: 'mirrors beside config_path',
    configToml: plus(`[plugins."${IMAGES}".registry.mirrors."registry.example"]\nendpoint = ["http://127.0.0.1:9"]`),
    codes: ['mirrors-beside-config-path'],
    ...NOT_ASKED,
  },
  { title: 'a configuration of version 2', configToml: (good) => inOldNames(good, 2, RUNC), ...COMPATIBLE },
  { title: 'the section of containerd 1 in version 3', configToml: (good) => inOldNames(good, 3, RUNC), ...COMPATIBLE },
  {
    title: 'the section of containerd 1 in version 4',
    configToml: (good) =>
      inOldNames(good, 4, RUNC)
        .replace('[grpc]', '[plugins."io.containerd.server.v1.grpc"]')
        .replace('[ttrpc]', '[plugins."io.containerd.server.v1.ttrpc"]'),
    codes: ['section-not-read', 'config-path-list'],
    ...NOT_ASKED,
  },
  {
    title: 'discard_unpacked_layers in version 2, with a runtime',
    configToml: (good) =>
      after(inOldNames(good, 2, RUNC), `plugins."${OLD}".containerd`, 'discard_unpacked_layers = true'),
    result: 'incompatible',
    codes: ['layers-discarded'],
    reaches: true,
    keeps: false,
  },
  {
    title: 'discard_unpacked_layers in version 2, without a runtime: passed over',
    configToml: (good) =>
      after(inOldNames(good, 2), `plugins."${OLD}".containerd`, 'discard_unpacked_layers = true').concat(
        `[plugins."${IMAGES}"]\nsnapshotter = "native"\n`, // Passed over where it stands in the old section, too.
      ),
    ...COMPATIBLE,
  },
  {
    title: 'a drop-in of version 2 against discard_unpacked_layers, without a runtime: passed over',
    configToml: (good, folder) =>
      importing(
        after(inOldNames(good, 2, RUNC), `plugins."${OLD}".containerd`, 'discard_unpacked_layers = true'),
        folder,
      ),
    dropIn: `version = 2\n[plugins."${OLD}".containerd]\ndiscard_unpacked_layers = false\n`,
    result: 'incompatible',
    codes: ['section-not-read', 'layers-discarded'],
    reaches: true,
    keeps: false,
  },
  {
    title: 'a drop-in of version 3 against discard_unpacked_layers',
    configToml: (good, folder) => importing(inImages(good, 'discard_unpacked_layers = true'), folder),
    dropIn: `version = 3\n[plugins."${IMAGES}"]\ndiscard_unpacked_layers = false\n`,
    ...COMPATIBLE,
  },
];

export const VERDICT_CASES: readonly VerdictCase[] = [
  ...ONE.map((one) => ({ version: '1.6.20' as const, ...one })),
  ...TWO.map((two) => ({ version: '2.4.2' as const, ...two })),
];
