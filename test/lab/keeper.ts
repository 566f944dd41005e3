/**
 * The first process of a lab's own namespaces. The lab's bridge, its upstream and its nodes live in them, so that when
 * this process ends, however it ends, the kernel ends all of the lab: processes, mounts, network. It ends by itself when
 * the process that made the lab does (its standard input closes), and removes the lab's folders then.
 */
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import http from 'node:http';
import net from 'node:net';
import path from 'node:path';
import readline from 'node:readline';
import type { ControlCall, KeeperConfig, TlsFiles } from './control.ts';
import { cardOf } from './network.ts';
import { createLedger, summarize } from './upstream/ledger.ts';
import { createDoorman } from './upstream/lock.ts';
import { createProxy } from './upstream/proxy.ts';

const BRIDGE = 'br0';
/** This end of the machine's own link into the lab. */
const ROOT_LINK = 'root';
/** The registry answers 30 ms after its start; a minute means that it never will. */
const REGISTRY_START_MS = 60_000;

if (process.pid !== 1) throw new Error('the keeper is started by the lab, in a pid namespace of its own');

const lines = readline.createInterface({ input: process.stdin })[Symbol.asyncIterator]();
ip('link', 'set', 'lo', 'up');
process.stdout.write('namespaces\n');
const first = await lines.next();
if (first.done) process.exit(0);
const config = JSON.parse(first.value) as KeeperConfig;
process.on('SIGTERM', shutDown);
void waitForCreator();
await bringUp();

async function waitForCreator(): Promise<void> {
  const { done } = await lines.next();
  if (done && config.attached) shutDown();
}

async function bringUp(): Promise<void> {
  ip('link', 'add', BRIDGE, 'address', cardOf(config.address), 'type', 'bridge');
  ip('address', 'add', `${config.address}/24`, 'dev', BRIDGE);
  ip('link', 'set', BRIDGE, 'up');
  ip('link', 'set', ROOT_LINK, 'master', BRIDGE, 'up');
  await startRegistry('registry', config.registryPort);
  const ledger = createLedger();
  const doorman = createDoorman();
  const proxy = createProxy(
    { ledger, doorman },
    { host: config.address, port: config.upstreamPort, registryPort: config.registryPort },
  );
  await proxy.start();
  const control = http.createServer((request, response) => {
    void answer(request, response);
  });
  control.listen(config.controlSocket);

  async function answer(request: http.IncomingMessage, response: http.ServerResponse): Promise<void> {
    try {
      const call = JSON.parse((await request.toArray()).join('')) as ControlCall;
      response.end(JSON.stringify((await perform(call)) ?? null));
    } catch (error) {
      response.writeHead(500).end(String(error));
    }
  }

  async function perform(call: ControlCall): Promise<unknown> {
    switch (call.do) {
      case 'stats':
        return summarize(ledger.entries());
      case 'reset-stats':
        return ledger.reset();
      case 'behave':
        return proxy.behave(call.behaviour);
      case 'lock':
        return doorman.setLock(call.lock);
      case 'serve-tls':
        return startRegistry('registry-tls', call.port, call.tls);
      case 'start':
        return proxy.start();
      case 'stop':
        return proxy.stop();
      case 'down':
        setImmediate(shutDown); // The answer first.
        return null;
    }
  }
}

/** All of them serve the same images. */
async function startRegistry(name: string, port: number, tls?: TlsFiles): Promise<void> {
  const file = path.join(config.dataFolder, `${name}.yml`);
  const settings = {
    version: '0.1',
    log: { level: 'error', accesslog: { disabled: true } },
    storage: { filesystem: { rootdirectory: path.join(config.dataFolder, 'registry') }, delete: { enabled: true } },
    // HTTP/1.1 in both, as peers speak it.
    http: { addr: `:${port}`, ...(tls && { tls, http2: { disabled: true } }) },
  };
  fs.writeFileSync(file, JSON.stringify(settings)); // JSON is YAML.
  const log = fs.openSync(path.join(config.dataFolder, `${name}.log`), 'a');
  spawn('docker-registry', ['serve', file], { stdio: ['ignore', log, log] }).on('exit', () => {
    throw new Error(`docker-registry ended; see ${name}.log`);
  });
  fs.closeSync(log);
  const deadline = Date.now() + REGISTRY_START_MS;
  while (!(await canConnect(port))) {
    if (Date.now() > deadline) throw new Error('docker-registry does not answer');
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

function canConnect(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = net.connect({ host: '127.0.0.1', port });
    socket.on('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.on('error', () => resolve(false));
  });
}

/** Ends everything in these namespaces, then the lab's folders, then itself. */
function shutDown(): void {
  try {
    process.kill(-1, 'SIGKILL'); // As the first process of a pid namespace: everyone in it but itself.
  } catch {
    // Nobody else was left.
  }
  // Without this the connections that just lost their peers keep the namespace, and with it the link, for minutes.
  spawnSync('ip', ['link', 'delete', ROOT_LINK]);
  for (const folder of [config.dataFolder, config.runFolder]) {
    // The entry last, as long as anything is left.
    fs.rmSync(folder, { recursive: true, force: true, maxRetries: 50, retryDelay: 20 });
  }
  process.exit(0);
}

function ip(...args: string[]): void {
  execFileSync('ip', args, { stdio: ['ignore', 'ignore', 'inherit'] });
}
