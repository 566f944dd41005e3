import { spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { LabError } from './lab-error.ts';
import { identifyProcess, isAlive, type ProcessId, signalProcess } from './process-id.ts';

/** Names, sockets and state of all labs of this machine. Short, because a socket's path may have 107 characters. */
const RUN_ROOT = '/run/miroir-lab';
const CHECKOUT = path.join(import.meta.dirname, '..', '..');
/** Stores of nodes and registries, and logs: what is big. */
const DATA_ROOT = path.join(CHECKOUT, '.lab', 'run');
const STATE_FILE = 'lab.json';

export interface NodeState {
  readonly name: string;
  readonly address: string;
  /** The version of its containerd. */
  readonly containerd: string;
  readonly holder: ProcessId;
  /** Where its containerd's socket is, seen from outside. */
  readonly socket: string;
}

export interface LabState {
  readonly name: string;
  readonly creator: ProcessId;
  /** An attached lab ends with its creator; a detached one when someone takes it down. */
  readonly attached: boolean;
  readonly runFolder: string;
  readonly dataFolder: string;
  /** Absent until the lab's namespaces exist. */
  readonly keeper?: ProcessId;
  /** The number of the subnet: 10.210.<slot>.0/24. */
  readonly slot?: number;
  readonly nodes: readonly NodeState[];
}

/** Takes the lab's name and makes its folders. Throws ERR_LAB_NAME_TAKEN while a lab of that name is alive. */
export function claimLab(name: string, attached: boolean): LabState {
  if (!/^[a-z][a-z0-9-]{0,19}$/.test(name)) {
    throw new LabError(
      'ERR_LAB_WISH_INVALID',
      `'${name}' is no name for a lab: at most 20 small letters, digits and dashes, a letter first`,
    );
  }
  fs.mkdirSync(RUN_ROOT, { recursive: true });
  const creator = identifyProcess(process.pid) as ProcessId;
  const runFolder = path.join(RUN_ROOT, name);
  const dataFolder = path.join(DATA_ROOT, `${name}-${randomBytes(4).toString('hex')}`);
  const state: LabState = { name, creator, attached, runFolder, dataFolder, nodes: [] };
  // A folder is renamed onto a name only when nothing is there: two that want the same name cannot both get it.
  const draft = path.join(RUN_ROOT, `.new-${path.basename(dataFolder)}`);
  fs.mkdirSync(draft);
  fs.writeFileSync(path.join(draft, STATE_FILE), JSON.stringify(state));
  try {
    fs.renameSync(draft, runFolder);
  } catch (error) {
    fs.rmSync(draft, { recursive: true });
    throw new LabError('ERR_LAB_NAME_TAKEN', `a lab named ${name} is up; end it with: npm run lab -- down ${name}`, {
      cause: error,
    });
  }
  fs.mkdirSync(dataFolder, { recursive: true }); // After its entry: a folder that no entry names is left from a dead lab.
  return state;
}

export function saveState(state: LabState): void {
  const file = path.join(state.runFolder, STATE_FILE);
  fs.writeFileSync(`${file}.new`, JSON.stringify(state, null, 2));
  fs.renameSync(`${file}.new`, file);
}

export function controlSocket({ runFolder }: Pick<LabState, 'runFolder'>): string {
  return path.join(runFolder, 'control.sock');
}

/** All labs of this machine, dead ones too. */
export function listLabs(): readonly LabState[] {
  return listEntries().filter(({ runFolder }) => !path.basename(runFolder).startsWith('.'));
}

/** A lab is dead when nobody is left who would take it down. */
export function isDead({ creator, attached, keeper }: LabState): boolean {
  if (isAlive(creator)) return false;
  return attached || keeper === undefined || !isAlive(keeper);
}

/** Ends what is left of dead labs and removes their folders; answers their names. Touches no other process. */
export function removeDeadLabs(): readonly string[] {
  const folders = fs.existsSync(DATA_ROOT) ? fs.readdirSync(DATA_ROOT).map((name) => path.join(DATA_ROOT, name)) : [];
  const entries = listEntries(); // After the folders, so that the entry of each is among them.
  const dead = entries.filter(isDead);
  for (const state of dead) removeLab(state);
  // By name, which is unique: checkouts may share the folder, each under a path of its own.
  const isNamed = (folder: string) =>
    entries.some(({ dataFolder }) => path.basename(dataFolder) === path.basename(folder));
  const orphans = folders.filter((folder) => !isNamed(folder));
  for (const folder of orphans) removeFolder(folder);
  return [...dead.map(({ name }) => name), ...orphans.map((folder) => path.basename(folder))];
}

/** Labs, and what stands under a passing name while a lab is made or removed. */
function listEntries(): readonly LabState[] {
  if (!fs.existsSync(RUN_ROOT)) return [];
  return fs
    .readdirSync(RUN_ROOT)
    .map((name) => readState(path.join(RUN_ROOT, name)))
    .filter((state) => state !== undefined);
}

/** The kernel ends with a keeper all that runs in its lab; what remains is folders, and for some minutes the link. */
export function removeLab(state: LabState): void {
  const { runFolder, dataFolder, keeper } = state;
  const grave = path.join(RUN_ROOT, `.gone-${randomBytes(8).toString('hex')}`);
  try {
    fs.renameSync(runFolder, grave); // Who comes second finds nothing, and a new lab may take the name.
  } catch {
    return;
  }
  if (keeper) signalProcess(keeper, 'SIGKILL');
  if (ownsLink(state)) spawnSync('ip', ['link', 'delete', linkName(state.slot as number)]);
  removeFolder(dataFolder);
  removeFolder(grave); // Last: as long as anything is left of a lab, its entry is.
}

/** Processes that are being killed may still write: what they add is removed by another try. */
export function removeFolder(folder: string): void {
  fs.rmSync(folder, { recursive: true, force: true, maxRetries: 50, retryDelay: 20 });
}

/** The name of this machine's link into the lab of a subnet. */
export function linkName(slot: number): string {
  return `miroirlab${slot}`;
}

/** What the link is labelled with, for its name is given to another lab as soon as it is free. */
export function linkLabel({ dataFolder }: LabState): string {
  return path.basename(dataFolder);
}

function ownsLink(state: LabState): boolean {
  try {
    return fs.readFileSync(`/sys/class/net/${linkName(state.slot ?? -1)}/ifalias`, 'utf8').trim() === linkLabel(state);
  } catch {
    return false; // There is no such link.
  }
}

function readState(runFolder: string): LabState | undefined {
  try {
    const state = JSON.parse(fs.readFileSync(path.join(runFolder, STATE_FILE), 'utf8')) as LabState;
    return { ...state, runFolder };
  } catch {
    return undefined; // It was taken down while we looked.
  }
}
