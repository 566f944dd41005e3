/** `npm run lab`: a lab for people, that stays up until it is taken down. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import { Command, InvalidArgumentError } from 'commander';
import { createCriClient } from '../../containerd/api/cri.ts';
import { buildProgram, programNames } from './build-programs.ts';
import { callKeeper } from './control.ts';
import { fetchInside } from './fetch-inside.ts';
import { createLab, endLab, type Lab } from './lab.ts';
import { LabError } from './lab-error.ts';
import { entering } from './namespace.ts';
import { nodeEnvironment } from './node.ts';
import { READY_URL } from './node-mirror.ts';
import { isAlive } from './process-id.ts';
import { findContainerd } from './programs.ts';
import { listRequirements } from './requirements.ts';
import { controlSocket, isDead, type LabState, listLabs, type NodeState, removeDeadLabs } from './state.ts';
import type { UpstreamStats } from './upstream/ledger.ts';

const DEFAULT_NAME = 'lab';
/** Four layers, so that a pull shows what it does with several. */
const SAMPLE = { seed: 'sample', layers: Array.from({ length: 4 }, () => ({ bytes: 5_000_000 })) };
const SAMPLE_NAME = 'demo/app:v1';
/** A node that does not answer a question by then is shown as not answering. */
const QUESTION_MS = 2000;

interface UpFlags {
  readonly nodes: number;
  readonly containerd: readonly string[];
  readonly name: string;
  readonly mirror: boolean;
}

const interrupted = new AbortController();
process.once('SIGINT', () => interrupted.abort(new Error('interrupted')));

const program = new Command('npm run lab --')
  .description(
    'Real nodes on this machine: each a set of namespaces with its own containerd,\n' +
      'and a registry that they pull from. Needs root; "requirements" says what else.',
  )
  .enablePositionalOptions() // What comes after `shell n1 ctr` is ctr's.
  .showHelpAfterError('(add --help for what there is)')
  .addHelpText('after', '\nA first walk: up --mirror, then shell n1, then status, then down.');

program
  .command('up')
  .description('start a lab and leave it running')
  .option('--nodes <count>', 'how many nodes', parseCount, 3)
  .option('--containerd <versions>', 'their containerd versions, taken in turns', parseList, ['1.6.20'])
  .option('--mirror', 'configure and start Miroir on every node', false)
  .option('--name <name>', 'what to call it; labs of different names run side by side', DEFAULT_NAME)
  .action(up);
program
  .command('status')
  .description('show the labs of this machine, their nodes and what their upstreams served')
  .action(status);
program
  .command('shell')
  .description('open a shell in a node, or run a command there: shell n1 ctr images ls')
  .argument('<node>', 'n1, n2, ...')
  .argument('[command...]', 'what to run instead of a shell')
  .option('--name <name>', "the lab's name", DEFAULT_NAME)
  .passThroughOptions()
  .action(shell);
program
  .command('down')
  .description('end a lab and remove every trace of it')
  .argument('[name]', "the lab's name", DEFAULT_NAME)
  .option('--all', 'every lab that was left running with "up"', false)
  .option('--stale', 'only what labs left behind whose processes died', false)
  .action(down);
program
  .command('build')
  .description(`build Go programs into .lab/bin: ${programNames().join(', ')}`)
  .argument('[programs...]', 'which ones; all of them unless told')
  .action(build);
program.command('requirements').description('say what is missing and how to get it').action(requirements);

try {
  await program.parseAsync();
} catch (error) {
  const wasInterrupted = interrupted.signal.aborted || (error as { signal?: unknown }).signal === 'SIGINT';
  if (!(error instanceof LabError) && !wasInterrupted) throw error;
  process.stderr.write(`${wasInterrupted ? 'Interrupted.' : (error as Error).message}\n`);
  process.exitCode = 1;
}

async function up({ nodes, containerd, name, mirror }: UpFlags): Promise<void> {
  const wishes = Array.from({ length: nodes }, (_, index) => ({
    containerd: containerd[index % containerd.length] ?? '',
  }));
  for (const wish of wishes) findContainerd(wish.containerd);
  say(`Starting ${nodes} nodes ...`);
  const lab = await createLab({ name, nodes: wishes, attached: false }, interrupted.signal);
  try {
    await fill(lab, mirror);
    lab.release();
  } catch (error) {
    await lab.down();
    throw error;
  }
  const flag = name === DEFAULT_NAME ? '' : ` --name ${name}`;
  say(`The lab "${name}" is up:`);
  for (const node of lab.nodes)
    say(`  ${node.name}  ${node.address}  containerd ${node.containerdVersion}${mirror ? '  with Miroir' : ''}`);
  say(`
Its registry is ${lab.upstream.host}, and has an image: ${lab.upstream.host}/${SAMPLE_NAME}
Push more from this machine, uncounted, to ${lab.upstream.pushUrl}

Pull it on a node through containerd, as kubelet would, and see what that cost the registry:
  npm run lab -- shell${flag} n1 ctr images pull --hosts-dir /etc/containerd/certs.d ${lab.upstream.host}/${SAMPLE_NAME}
  npm run lab -- status
Look around in a node (logs are in ${lab.folder}/n1):
  npm run lab -- shell${flag} n1
End it:
  npm run lab -- down${name === DEFAULT_NAME ? '' : ` ${name}`}`);
}

async function fill(lab: Lab, mirror: boolean): Promise<void> {
  await lab.upstream.push(SAMPLE_NAME, SAMPLE, interrupted.signal);
  if (!mirror) return;
  say('Starting Miroir on each ...');
  await Promise.all(
    lab.nodes.map(async (node) => {
      await node.configure([], interrupted.signal);
      await node.startMirror([], interrupted.signal);
    }),
  );
}

async function status(): Promise<void> {
  const labs = listLabs();
  if (labs.length === 0) say('No lab is up. Start one: npm run lab -- up');
  for (const lab of labs) {
    if (isDead(lab)) {
      say(`${lab.name}: its processes died; remove what it left: npm run lab -- down --stale`);
      continue;
    }
    const owner = lab.attached ? `of process ${lab.creator.pid}` : 'left running';
    say(`${lab.name}: ${owner}, in ${lab.dataFolder}`);
    const lines = await Promise.all(lab.nodes.map(describeNode));
    for (const line of lines) say(`  ${line}`);
    const stats = (await callKeeper(controlSocket(lab), { do: 'stats' }).catch(() => undefined)) as
      | UpstreamStats
      | undefined;
    if (stats)
      say(
        `  upstream: ${stats.requests} requests, ${stats.manifestGets} manifests and ${stats.blobGets} blobs fetched, ${megabytes(stats.bytes)}`,
      );
  }
}

async function describeNode({ name, address, containerd, holder, socket }: NodeState): Promise<string> {
  if (!isAlive(holder)) return `${name}  ${address}  off`;
  const cri = createCriClient({ socket });
  const images = await cri.listImages(AbortSignal.timeout(QUESTION_MS)).then(
    (list) => `${list.length} images`,
    () => 'not answering',
  );
  cri.close();
  const mirror = await fetchInside(holder, READY_URL, { signal: AbortSignal.timeout(QUESTION_MS) }).then(
    (response) => (response.status === 200 ? 'ready' : 'not ready'),
    () => 'not running',
  );
  return `${name}  ${address}  containerd ${containerd}: ${images}; mirror: ${mirror}`;
}

async function shell(nodeName: string, command: readonly string[], { name }: { name: string }): Promise<void> {
  const lab = findLab(name);
  const node = lab.nodes.find((candidate) => candidate.name === nodeName);
  if (!node) {
    const names = lab.nodes.map((candidate) => candidate.name).join(', ');
    throw new LabError('ERR_LAB_NOT_FOUND', `${name} has no node ${nodeName}; it has ${names}`);
  }
  const [nsenter, ...args] = entering(node.holder, command.length > 0 ? command : ['bash', '--norc']);
  const env = { ...process.env, ...nodeEnvironment(findContainerd(node.containerd)), PS1: `${nodeName}:\\w# ` };
  const child = spawn(nsenter as string, args, { stdio: 'inherit', env });
  process.on('SIGINT', () => {}); // Ctrl-C is the shell's.
  const [code] = (await once(child, 'exit')) as [number | null];
  process.exitCode = code ?? 1;
}

async function down(name: string, { all, stale }: { all: boolean; stale: boolean }): Promise<void> {
  for (const dead of removeDeadLabs()) say(`Removed what ${dead} had left.`);
  if (stale) return;
  const labs = all ? listLabs().filter(({ attached }) => !attached) : [findLab(name)];
  for (const lab of labs) {
    await endLab(lab);
    say(`${lab.name} is gone.`);
  }
}

async function build(names: readonly string[]): Promise<void> {
  for (const name of names.length > 0 ? names : programNames()) {
    const { folder, wasBuilt } = await buildProgram(name, say, interrupted.signal);
    say(`${folder}${wasBuilt ? '' : ' (there already)'}: ${fs.readdirSync(folder).join(' ')}`);
  }
}

function requirements(): void {
  for (const { what, isMet, fix } of listRequirements()) {
    say(isMet ? `ok       ${what}` : `MISSING  ${what.padEnd(16)} ${fix}`);
    if (!isMet) process.exitCode = 1;
  }
}

function findLab(name: string): LabState {
  const labs = listLabs();
  const lab = labs.find((candidate) => candidate.name === name);
  if (lab) return lab;
  const there = labs.length === 0 ? 'none is' : `${labs.map((other) => other.name).join(', ')} is`;
  throw new LabError('ERR_LAB_NOT_FOUND', `no lab named ${name} is up, ${there}`);
}

function parseCount(text: string): number {
  if (!/^[1-9]\d{0,2}$/.test(text)) throw new InvalidArgumentError('It is a number of nodes, 1 or more.');
  return Number(text);
}

function parseList(text: string): readonly string[] {
  return text.split(',').map((item) => item.trim());
}

function megabytes(bytes: number): string {
  return `${(bytes / 1e6).toFixed(1)} MB`;
}

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}
