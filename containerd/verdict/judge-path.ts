import path from 'node:path';
import { fixSettings, ownCertsDir } from './fixes.ts';
import { type ImageSetting, type ImageSettings, localPullReasons } from './image-settings.ts';
import type { Case } from './judge-containerd.ts';
import { findPassedOver } from './passed-over.ts';
import type { EvidenceItem, Reason } from './verdict.ts';

/** Something in the settings that keeps containerd from asking the mirror. */
type Problem = Omit<Reason, 'weighs' | 'fix'> & { readonly fix: string };

/** Whether pulls reach a mirror. What the probe saw goes before what the settings promise. */
export function judgePath(one: Case): readonly Reason[] {
  const { evidence } = one;
  const problems = [...findProblems(one), ...notRestarted(one)];
  if (evidence.probe.kind === 'reached') {
    return findProblems(one)
      .filter(({ code }) => code !== 'config-path-elsewhere' || isChanged(one))
      .map((problem) => afterRestart(problem));
  }
  if (evidence.failedPlugin !== undefined) return notLoaded(one, problems);
  if (problems.length > 0) {
    return [...problems.map((problem) => ({ ...problem, weighs: 'incompatible' as const })), ...probeNote(one)];
  }
  if (evidence.probe.kind === 'not-reached') return [notReached(one)];
  return unproven(one);
}

/** One folder can have several names, by links and mounts: that containerd reads ours goes before what its path looks like. */
function isChanged({ evidence: { running }, configured }: Case): boolean {
  return running.configPath !== undefined && running.configPath !== configured?.settings.configPath.value;
}

function afterRestart({ code, sentence, evidence, fix }: Problem): Reason {
  return {
    code: 'config-differs',
    weighs: 'note',
    sentence: `containerd asks the mirror now; once it is started again with what its files say it will not (${code}): ${sentence}`,
    evidence,
    fix,
  };
}

function notLoaded({ evidence, context }: Case, problems: readonly Problem[]): readonly Reason[] {
  const { name, failure } = evidence.failedPlugin as NonNullable<typeof evidence.failedPlugin>;
  const known = problems.find(({ code }) => code === 'mirrors-beside-config-path');
  const told: EvidenceItem = { source: 'introspection', value: failure };
  if (known !== undefined) return [{ ...known, weighs: 'incompatible', evidence: [...known.evidence, told] }];
  return [
    {
      code: 'cri-not-loaded',
      weighs: 'incompatible',
      sentence: `containerd runs without its plugin ${name}, so that kubelet can pull nothing: ${failure}`,
      evidence: [told],
      fix: `mend what containerd complains of in ${context.configFile}, then restart it`,
    },
  ];
}

function notReached({ evidence, context, configured }: Case): Reason {
  const seen: EvidenceItem[] = [{ source: 'probe', value: 'pulled without asking' }];
  if (configured !== undefined) seen.push(itemOf(configured.settings.configPath));
  const looksGood = configured !== undefined || evidence.running.configPath !== undefined;
  return {
    code: 'probe-not-reached',
    weighs: 'incompatible',
    sentence: looksGood
      ? `containerd's configuration names ${context.certsDir}, and yet a pull did not read the hosts.toml that was put there`
      : `a pull did not read the hosts.toml that was put into ${context.certsDir}`,
    evidence: seen,
    fix: looksGood
      ? `restart containerd, which reads its configuration only at its start; if that was done, see that ${context.certsDir} is the node's own folder, mounted at its path, and that containerd is started with ${context.configFile}`
      : fixSettings({ config_path: context.certsDir }, context),
  };
}

function probeNote({ evidence: { probe } }: Case): readonly Reason[] {
  if (probe.kind !== 'failed') return [];
  return [{ code: 'probe-failed', weighs: 'note', sentence: sentenceOf(probe.why), evidence: [], fix: undefined }];
}

/** Nobody tried, or trying told nothing: what the settings say stands. */
function unproven({ evidence, configured }: Case): readonly Reason[] {
  const { probe, running } = evidence;
  const isTold = configured !== undefined || running.configPath !== undefined;
  if (probe.kind === 'failed') {
    const weighs = isTold ? 'note' : 'unknown';
    return [{ code: 'probe-failed', weighs, sentence: sentenceOf(probe.why), evidence: [], fix: undefined }];
  }
  if (isTold) return [];
  const sentence = 'nothing tells whether containerd asks the mirror';
  return [{ code: 'path-unproven', weighs: 'unknown', sentence, evidence: [], fix: undefined }];
}

function sentenceOf(why: string): string {
  return `whether containerd asks the mirror could not be tried: ${why}`;
}

function findProblems(one: Case): readonly Problem[] {
  const { configured, evidence } = one;
  const { configPath } = evidence.running;
  if (configured === undefined) {
    // A list is no problem by itself, and who pulls is not known.
    if (configPath === undefined || configPath.includes(':')) return [];
    return inPath(one, { value: configPath, place: undefined }, undefined);
  }
  const problems = inPath(one, configured.settings.configPath, configured.settings);
  if (problems.length === 0) return problems;
  const unread = findPassedOver(one, 'path', { config_path: one.context.certsDir });
  return unread === undefined ? problems : [unread, ...problems];
}

/** The files are in order, and containerd runs with what they said before. */
function notRestarted(one: Case): readonly Problem[] {
  const { evidence, configured, context } = one;
  const { configPath, source } = evidence.running;
  if (configured === undefined || configPath === undefined || findProblems(one).length > 0) return [];
  const [problem] = inPath(one, { value: configPath, place: undefined }, configured.settings);
  if (problem === undefined) return [];
  return [
    {
      code: 'not-restarted',
      sentence: `containerd runs with another config_path than its files have by now: ${problem.sentence}`,
      evidence: [
        { source, value: `config_path = ${JSON.stringify(configPath)}` },
        itemOf(configured.settings.configPath),
      ],
      fix: `restart containerd, which reads its configuration only at its start; if that was done, see that it is started with ${context.configFile}`,
    },
  ];
}

function inPath(one: Case, configPath: ImageSetting<string>, settings: ImageSettings | undefined): readonly Problem[] {
  const { context } = one;
  const { certsDir, version } = context;
  const fix = fixSettings({ config_path: certsDir }, context);
  const seen = itemOf(configPath);
  if (settings !== undefined) {
    const beside = besideConfigPath(one, settings);
    if (beside !== undefined) return [beside];
  }
  if (configPath.value === '') {
    const sentence = 'containerd has no config_path, so it reads no hosts.toml and asks no mirror';
    const old = settings && settingsBeforePath(one, settings);
    if (old === undefined) return [{ code: 'config-path-empty', sentence, evidence: [seen], fix }];
    const evidence: EvidenceItem[] = [seen, { source: 'file', ...old.place, value: old.name }];
    const move = `take ${old.name} out too, and put what it says into hosts.toml files: containerd does not load its CRI plugin with both`;
    return [{ code: 'config-path-empty', sentence, evidence, fix: `${fix}\n${move}` }];
  }
  const folders = configPath.value.split(':').filter((folder) => folder !== '');
  const pullsItself = settings === undefined || version === undefined ? [] : localPullReasons(settings, version);
  if (configPath.value.includes(':') && pullsItself.length === 0) {
    const sentence = `config_path is a list, ${configPath.value}, which containerd's transfer service takes for the name of one folder: it reads no hosts.toml and asks no mirror`;
    return [{ code: 'config-path-list', sentence, evidence: [seen], fix }];
  }
  if (!folders.some((folder) => path.resolve(folder) === path.resolve(certsDir))) {
    const sentence = `containerd reads ${configPath.value}, and the mirror's files are in ${certsDir}`;
    const own = folders.length === 1 ? folders[0] : ownCertsDir(context.distribution);
    const follow = own === undefined ? '' : `run miroir with --certs-dir ${own}, the folder that containerd reads`;
    const isOwn = own !== undefined && own === ownCertsDir(context.distribution);
    const fixes = [follow, isOwn ? '' : `${follow === '' ? '' : 'or '}${fix}`].filter((text) => text !== '');
    return [{ code: 'config-path-elsewhere', sentence, evidence: [seen], fix: fixes.join('\n') }];
  }
  return [];
}

/** What was there before config_path, and excludes it: `mirrors`, and with 1.x TLS in `configs`. */
function settingsBeforePath({ context }: Case, { mirrors, tlsConfigs }: ImageSettings) {
  if (mirrors.value > 0) return { name: 'registry.mirrors', place: mirrors.place };
  const isOne = (context.version?.major ?? 2) < 2;
  return isOne && tlsConfigs.value > 0 ? { name: 'registry.configs with tls', place: tlsConfigs.place } : undefined;
}

/** A containerd that has such settings beside config_path does not load its CRI plugin. */
function besideConfigPath(one: Case, settings: ImageSettings): Problem | undefined {
  const { context } = one;
  const old = settingsBeforePath(one, settings);
  if (old === undefined || settings.configPath.value === '') return undefined;
  const { name, place } = old;
  return {
    code: 'mirrors-beside-config-path',
    sentence: `${name} and config_path exclude each other: containerd does not load its CRI plugin, and kubelet can pull nothing`,
    evidence: [{ source: 'file', ...place, value: name }, itemOf(settings.configPath)],
    fix: `move what ${name} says into hosts.toml files in ${context.certsDir}, take it out of ${place?.file ?? context.configFile}, then restart containerd`,
  };
}

function itemOf({ value, place }: ImageSetting<string>): EvidenceItem {
  const text = `config_path = ${JSON.stringify(value)}`;
  return place === undefined ? { source: 'default', value: text } : { source: 'file', ...place, value: text };
}
