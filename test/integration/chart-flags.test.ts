/** The command lines of the chart, by what Miroir makes of them: a flag that it does not know would end its pods. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { loadConfig } from '../../common/config/load.ts';
import { type CommandName, flagName } from '../../common/config/setting.ts';
import { settingsOf } from '../../common/config/settings.ts';
import { type Manifest, renderChart } from '../lab/cluster/helm.ts';

const DEADLINE_MS = 60_000;
const IMAGE = '--set=image.repository=registry.example/miroir';

/** Of the values that are handed on, ones that are not the defaults; and what the environment has on a node. */
const CASES: Readonly<Record<string, { readonly values: readonly string[]; readonly node: string }>> = {
  'the least': { values: [], node: '10.0.0.7' },
  everything: {
    values: [
      '--set=containerd.configPath=/etc/containerd/config.toml',
      '--set=registries={docker.io,registry.example:5000=http://10.0.0.1:5000}',
      '--set=sidecar.enabled=true,sidecar.extraArgs={--answer-tags=on},swarmKey.madeBy=webhook',
      '--set=mirror.extraArgs={--zone=a},webhook.extraArgs={--verdict-interval=2s}',
      '--set=privateImages=prove-always,tags=mirror-first,mirror.peerEncryption=off',
    ],
    node: '10.0.0.7',
  },
  'a certificate of yours': { values: ['--set=webhook.tlsSecret=tls'], node: '10.0.0.7' },
  'cert-manager': { values: ['--set=webhook.certManager.enabled=true'], node: '10.0.0.7' },
  'nodes of IPv6': { values: ['--set=mirror.listenHost=[::],sidecar.enabled=true'], node: 'fd00::7' },
};

for (const [title, { values, node }] of Object.entries(CASES)) {
  test(`Miroir takes every flag that the chart gives it: ${title}`, async (t) => {
    const signal = AbortSignal.any([t.signal, AbortSignal.timeout(DEADLINE_MS)]);
    const lines = (await renderChart([IMAGE, ...values], signal)).flatMap((manifest) => commandLines(manifest, node));

    const commands = new Set(lines.map(([command]) => command));
    assert.deepEqual([...commands].toSorted(), ['cleanup', 'configure', 'mirror', 'status', 'uninstall', 'webhook']);
    for (const [command, ...flags] of lines) {
      const given = flags.map((flag) => /^--([a-z-]+)=(.+)$/.exec(flag)?.slice(1) ?? assert.fail(`${command} ${flag}`));
      assert.equal(new Set(given.map(([flag]) => flag)).size, given.length, `${command} gets a flag twice`);
      const known = settingsOf(command).map(([name]) => flagName(name));
      for (const [flag = ''] of given) assert.ok(known.includes(flag), `${command} has no --${flag}`);
      const sources = {
        flags: new Map(given.map(([flag = '', value = '']) => [flag, [value]])),
        unknownArguments: [],
        env: {},
        readFile: () => Promise.reject(new Error('there is no file')),
      };
      await loadConfig(command, sources); // Throws all that is wrong.
    }
  });
}

interface Container {
  readonly command?: readonly string[];
  readonly args?: readonly string[];
  readonly env?: readonly { readonly name: string; readonly value?: string }[];
  readonly lifecycle?: Readonly<Record<string, { readonly exec: { readonly command: readonly string[] } }>>;
}

interface PodSpec {
  readonly containers: readonly Container[];
  readonly initContainers?: readonly Container[];
}

/** What the containers of an object run, without the program's name. */
function commandLines(manifest: Manifest, node: string): readonly (readonly [CommandName, ...string[]])[] {
  const { spec } = manifest as unknown as {
    readonly spec?: PodSpec & { readonly template?: { readonly spec: PodSpec } };
  };
  const { containers = [], initContainers = [] } = spec?.template?.spec ?? spec ?? {};
  return [...initContainers, ...containers].flatMap(({ command, args = [], env = [], lifecycle = {} }) => {
    const variables = Object.fromEntries(env.map(({ name, value }) => [name, value ?? node]));
    const hooks = Object.values(lifecycle).map(({ exec }) => exec.command);
    const lines = [...(command === undefined ? [args] : [command]), ...hooks];
    return lines.map((line) => {
      const words = line[0] === '/usr/local/bin/miroir' ? line.slice(1) : line;
      return words.map((word) => word.replaceAll(/\$\((\w+)\)/g, (_, name) => variables[name] ?? assert.fail(name)));
    }) as unknown as (readonly [CommandName, ...string[]])[];
  });
}
