import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import readline from 'node:readline';
import test, { type TestContext } from 'node:test';
import { createLab } from '../lab/lab.ts';
import { run, until } from '../lab/namespace.ts';
import { identifyProcess, isAlive, membersOf, type ProcessId, signalProcess } from '../lab/process-id.ts';
import { linkName, listLabs, removeDeadLabs } from '../lab/state.ts';

const LAB_MODULE = path.join(import.meta.dirname, '..', 'lab', 'lab.ts');
const CLI = path.join(import.meta.dirname, '..', 'lab', 'cli.ts');

/** Labs are the machine's: a test names its own so that it meets nobody else's. */
function ownName(name: string): string {
  return `${name}-${process.pid}`;
}

interface Traces {
  readonly processes: readonly ProcessId[];
  readonly folders: readonly string[];
  readonly link: string;
}

/** Everything of a lab that the machine could still show when it is gone. */
function tracesOf(name: string): Traces {
  const lab = listLabs().find((candidate) => candidate.name === name);
  assert.ok(lab?.keeper && lab.slot !== undefined, `no lab named ${name} is up`);
  const processes = membersOf(lab.keeper)
    .map(identifyProcess)
    .filter((found) => found !== undefined);
  return { processes, folders: [lab.runFolder, lab.dataFolder], link: `/sys/class/net/${linkName(lab.slot)}` };
}

function remainsOf({ processes, folders, link }: Traces): string[] {
  const alive = processes.filter(isAlive).map(({ pid }) => `process ${pid}`);
  return [...alive, ...[...folders, link].filter((file) => fs.existsSync(file))];
}

/** A process of its own that makes a lab, and does nothing more. */
async function startCreator(t: TestContext, name: string, attached: boolean): Promise<ChildProcess> {
  const options = JSON.stringify({ name, attached, nodes: [{ containerd: '1.6.20' }] });
  const code = `
    import { createLab } from ${JSON.stringify(LAB_MODULE)};
    await createLab(${options}, new AbortController().signal);
    console.log('up');
    setInterval(() => {}, 1000);`;
  const child = spawn(process.execPath, ['--input-type=module-typescript', '--eval', code], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  t.after(() => child.kill('SIGKILL'));
  await once(readline.createInterface({ input: child.stdout }), 'line', { signal: t.signal });
  return child;
}

test('two labs run side by side, and the end of one is not the end of the other', async (t) => {
  const options = { nodes: [{ containerd: '1.6.20' }] };
  const [one, two] = await Promise.all([createLab(options, t.signal), createLab(options, t.signal)]);
  t.after(() => one.down());
  t.after(() => two.down());
  const spec = { seed: 'side by side', layers: [{ bytes: 100_000 }] };
  const image = await one.upstream.push('team/app:v1', spec);
  const traces = tracesOf(one.name);
  const [ofOne, ofTwo] = [one.nodes[0], two.nodes[0]];
  assert.ok(ofOne && ofTwo);

  await assert.rejects(ofTwo.pull(image.reference, {}, t.signal), /not found/);
  await ofOne.pull(image.reference, {}, t.signal);
  await one.down();
  await two.upstream.push('team/app:v1', spec);
  await ofTwo.pull(image.reference, {}, t.signal);

  assert.notEqual(one.address, two.address);
  assert.deepEqual(remainsOf(traces), []);
});

test('a name can be had once', async (t) => {
  const name = ownName('taken');
  const lab = await createLab({ name, nodes: [] }, t.signal);
  t.after(() => lab.down());

  await assert.rejects(createLab({ name, nodes: [] }, t.signal), { code: 'ERR_LAB_NAME_TAKEN' });
});

test('a lab that cannot be made leaves nothing behind', async (t) => {
  const name = ownName('broken');
  const nodes = [{ containerd: '1.6.20' }, { containerd: '1.6.20', configToml: () => 'version = "nonsense' }];

  await assert.rejects(createLab({ name, nodes }, t.signal), /containerd of n2 does not answer/);

  assert.deepEqual(
    listLabs().filter((lab) => lab.name === name),
    [],
  );
});

test('a lab ends and is removed when its creator is killed', async (t) => {
  const creator = await startCreator(t, ownName('orphan'), true);
  const traces = tracesOf(ownName('orphan'));

  creator.kill('SIGKILL');
  await until(
    () => remainsOf(traces).length === 0,
    AbortSignal.timeout(20_000),
    () => `left: ${remainsOf(traces).join(', ')}`,
  );

  assert.ok(traces.processes.length >= 5); // Keeper, registry, holder, its sleep, containerd.
});

test('what a lab leaves that died whole is found and removed, and nothing else', async (t) => {
  const [dead, living] = [ownName('dead'), ownName('alive')];
  const creator = await startCreator(t, dead, false);
  const alive = await createLab({ name: living, nodes: [] }, t.signal);
  t.after(() => alive.down());
  const [traces, aliveTraces] = [tracesOf(dead), tracesOf(living)];
  const [keeper] = traces.processes;
  assert.ok(keeper);

  creator.kill('SIGKILL');
  await once(creator, 'exit');
  assert.ok(!removeDeadLabs().includes(dead), 'a lab that was left running is not dead');
  signalProcess(keeper, 'SIGKILL');
  await until(() => !isAlive(keeper));
  removeDeadLabs(); // Whoever makes a lab at this moment does the same, and may have been first.
  await until(
    () => remainsOf(traces).length === 0,
    AbortSignal.timeout(20_000),
    () => `left: ${remainsOf(traces).join(', ')}`,
  );

  assert.equal(remainsOf(aliveTraces).length, aliveTraces.processes.length + 3);
});

test('a lab that lives is left alone by a checkout that knows its folder under another path', async (t) => {
  const lab = await createLab({ nodes: [] }, t.signal);
  t.after(() => lab.down());
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'checkout-'));
  t.after(() => fs.rmSync(folder, { recursive: true }));
  fs.symlinkSync(path.join(import.meta.dirname, '..', '..'), path.join(folder, 'link'));
  const state = path.join(folder, 'link', 'test', 'lab', 'state.ts');
  const code = `import { removeDeadLabs } from ${JSON.stringify(state)}; removeDeadLabs();`;

  await run([process.execPath, '--preserve-symlinks', '--input-type=module-typescript', '--eval', code], {}, t.signal);

  assert.ok(fs.existsSync(lab.folder));
});

test('npm run lab: up leaves a lab running that status, shell and down know', async (t) => {
  const name = ownName('cli');
  const lab = async (...args: string[]) => {
    const child = spawn(process.execPath, [CLI, ...args], { stdio: ['ignore', 'pipe', 'pipe'], signal: t.signal });
    const output = child.stdout.toArray();
    const [code] = (await once(child, 'close')) as [number | null];
    return { code, text: Buffer.concat(await output).toString() };
  };
  t.after(() => lab('down', name));

  const up = await lab('up', '--nodes', '2', '--name', name);
  const traces = tracesOf(name);
  const shell = await lab('shell', '--name', name, 'n2', 'sh', '-c', 'hostname; exit 3');
  const status = await lab('status');
  const down = await lab('down', name);

  assert.deepEqual([up.code, status.code, down.code], [0, 0, 0]);
  assert.match(up.text, /n2 .* containerd 1\.6\.20/);
  assert.deepEqual(shell, { code: 3, text: 'n2\n' });
  assert.match(status.text, new RegExp(`${name}: left running`));
  assert.deepEqual(remainsOf(traces), []);
});
