import assert from 'node:assert/strict';
import test from 'node:test';
import {
  byteRate,
  containerdNamespace,
  count,
  dnsName,
  duration,
  filePath,
  host,
  hostPort,
  labelSelector,
  loopbackPort,
  members,
  oneOf,
  onOff,
  percentage,
  port,
  registries,
  secretPath,
  socketPath,
  zone,
} from './kinds.ts';
import type { Kind } from './setting.ts';

interface Case {
  readonly title: string;
  readonly kind: Kind<unknown>;
  readonly takes: ReadonlyArray<readonly [text: string, value: unknown]>;
  readonly refuses: readonly string[];
}

const CASES: readonly Case[] = [
  {
    title: 'a duration',
    kind: duration,
    takes: [
      ['500ms', 500],
      ['15s', 15_000],
      ['5m', 300_000],
      ['336h', 1_209_600_000],
    ],
    refuses: ['5', '0s', '-1s', '1.5s', '1d', '1h30m', '337h', '1 s', '99999999999ms'],
  },
  {
    title: 'a percentage',
    kind: percentage,
    takes: [
      ['0', 0],
      ['20%', 0.2],
      ['100', 1],
    ],
    refuses: ['101', '-1', '0.5', '%', '1e1'],
  },
  {
    title: 'a count',
    kind: count(64),
    takes: [
      ['1', 1],
      ['64', 64],
    ],
    refuses: ['0', '65', '-1', '1.5', '04', '1e1', 'four'],
  },
  {
    title: 'a rate',
    kind: byteRate,
    takes: [
      ['100KB', 100_000],
      ['50MB', 50_000_000],
      ['1GB/s', 1_000_000_000],
    ],
    refuses: ['50', '50mb', '99KB', '0MB', '1.5GB', '50Mbit', '50 MB', '9999999GB'],
  },
  { title: 'a port', kind: port, takes: [['29984', 29_984]], refuses: ['0', '65536', '0x10', ':80', 'a', '80:80'] },
  {
    title: 'labels',
    kind: labelSelector,
    takes: [
      ['app=mirror', 'app=mirror'],
      ['app.kubernetes.io/name=miroir, tier=', 'app.kubernetes.io/name=miroir,tier='],
    ],
    refuses: ['app', '=mirror', 'app=a b', 'app in (a)', 'app=a,', 'app!=a', 'a/b/c=d', `app=${'a'.repeat(64)}`],
  },
  {
    title: 'an address with a port',
    kind: hostPort,
    takes: [
      ['127.0.0.1:29981', { host: '127.0.0.1', port: 29981 }],
      ['[fd00::7]:1', { host: 'fd00::7', port: 1 }],
      ['node-1.example:65535', { host: 'node-1.example', port: 65535 }],
    ],
    refuses: [
      '127.0.0.1',
      ':29981',
      'fd00::7:29981',
      '[fd00::7]',
      '1.2.3:80',
      '1.2.3.256:80',
      'a:0',
      'a:65536',
      'a:0x50',
      'a:+1',
      'a: 80',
      'http://a:80',
      'a:80/',
      '-a:80',
      'a b:80',
      `${'a.'.repeat(150)}a:80`,
      `${'a'.repeat(64)}:80`,
    ],
  },
  {
    title: 'an address of this node alone',
    kind: loopbackPort,
    takes: [
      ['127.0.0.1:29981', { host: '127.0.0.1', port: 29981 }],
      ['127.8.8.8:1', { host: '127.8.8.8', port: 1 }],
    ],
    refuses: ['0.0.0.0:29981', '10.0.0.7:29981', '[::1]:29981', 'localhost:29981', '127.0.0.1', '127.example:80'],
  },
  {
    title: 'a host',
    kind: host,
    takes: [
      ['10.0.0.7', '10.0.0.7'],
      ['[fd00::7]', 'fd00::7'],
      ['fd00::7', 'fd00::7'],
      ['node-1', 'node-1'],
    ],
    refuses: ['10.0.0.7:29982', '[fd00::7]:1', '[10.0.0.7]', '10.0.0', 'node 1', 'node/1', 'n\u0000'],
  },
  {
    title: 'a path',
    kind: filePath,
    takes: [
      ['/etc/containerd/certs.d/', '/etc/containerd/certs.d'],
      ['/a/../b', '/b'],
    ],
    refuses: ['/a\u0000b', '/a\nb', `/${'a'.repeat(4096)}`],
  },
  {
    title: 'a socket',
    kind: socketPath,
    takes: [
      ['/run/containerd/containerd.sock', '/run/containerd/containerd.sock'],
      ['unix:///run/containerd/containerd.sock', '/run/containerd/containerd.sock'],
    ],
    refuses: [`/${'a'.repeat(107)}`],
  },
  {
    title: 'the path of a secret',
    kind: secretPath,
    takes: [['/etc/miroir/swarm.key', '/etc/miroir/swarm.key']],
    refuses: ['0123456789abcdef'.repeat(4), '0123456789ABCDEF'.repeat(2)],
  },
  {
    title: 'a word of a few',
    kind: oneOf('one-hop', 'kad'),
    takes: [['kad', 'kad']],
    refuses: ['KAD', 'ka', 'kad,one-hop', 'constructor'],
  },
  {
    title: 'a switch',
    kind: onOff,
    takes: [
      ['on', true],
      ['off', false],
    ],
    refuses: ['true', 'ON', 'yes', '1'],
  },
  {
    title: 'a zone',
    kind: zone,
    takes: [
      ['eu-west-1a', 'eu-west-1a'],
      ['A_1.b', 'A_1.b'],
    ],
    refuses: ['-a', 'a-', 'a b', 'a,b', 'a'.repeat(64)],
  },
  {
    title: 'a containerd namespace',
    kind: containerdNamespace,
    takes: [['k8s.io', 'k8s.io']],
    refuses: ['k8s..io', '.k8s', 'a/b', 'a b', 'a'.repeat(77)],
  },
  {
    title: 'a DNS name',
    kind: dnsName,
    takes: [
      ['miroir.svc.cluster.local.', 'miroir.svc.cluster.local'],
      ['miroir', 'miroir'],
    ],
    refuses: ['10.0.0.7', 'fd00::7', '[fd00::7]', 'miroir:29983', 'a..b', '.', 'mir oir'],
  },
  {
    title: 'members',
    kind: members,
    takes: [['10.0.0.7, n2:1 ,[fd00::7]:29983,fd00::8', ['10.0.0.7', 'n2:1', '[fd00::7]:29983', 'fd00::8']]],
    refuses: [
      'a,,b',
      'a,',
      ',',
      'a b',
      'a;b',
      'http://a',
      'a:99999',
      Array.from({ length: 1025 }, () => 'a').join(','),
    ],
  },
  {
    title: 'registries',
    kind: registries,
    takes: [
      ['docker.io', [{ name: 'docker.io' }]],
      ['localhost:5000=http://10.0.0.1:5000', [{ name: 'localhost:5000', upstream: 'http://10.0.0.1:5000' }]],
      ['r.example=https://h.example/v2/sub/', [{ name: 'r.example', upstream: 'https://h.example/v2/sub' }]],
    ],
    refuses: [
      'https://docker.io',
      'docker.io/library',
      'docker.io,docker.io',
      'a=',
      'a=h.example',
      'a=ftp://h',
      'a=https://u:p@h',
      'a=https://u@h',
      'a=https://h?x',
      'a=https://h#x',
      'a=https://h h',
      '=https://h',
      'a:0',
      '_default',
      '../x',
    ],
  },
];

for (const { title, kind, takes, refuses } of CASES) {
  for (const [text, value] of takes) {
    test(`${title} is read from ${JSON.stringify(text)}`, () => {
      assert.deepEqual(kind.parse(text), { value });
    });
  }
  for (const text of refuses) {
    test(`${title} is not read from ${JSON.stringify(text.length > 60 ? `${text.slice(0, 60)}...` : text)}`, () => {
      const parsed = kind.parse(text);
      assert.ok('problems' in parsed && parsed.problems.length > 0);
      for (const { wrong, fix } of parsed.problems) {
        assert.match(wrong, /^[^\p{Cc}]{1,300}$/u);
        assert.match(fix, /^[^\p{Cc}]{1,300}$/u);
      }
    });
  }
}

test('every bad item of a list is told', () => {
  const parsed = members.parse('a b,n1,c d');
  assert.ok('problems' in parsed);
  assert.deepEqual(
    parsed.problems.map(({ wrong }) => wrong),
    ['"a b" is not a member', '"c d" is not a member'],
  );
});
