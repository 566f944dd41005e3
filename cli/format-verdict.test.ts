import assert from 'node:assert/strict';
import test from 'node:test';
import type { Verdict } from '../containerd/verdict/verdict.ts';
import { formatVerdict } from './format-verdict.ts';

const VERDICT: Verdict = { result: 'compatible', containerd: 'v2.4.2', distribution: undefined, reasons: [] };

test('a compatible node is one line', () => {
  assert.equal(formatVerdict(VERDICT), 'containerd 2.4.2: compatible\n');
});

test('each reason has its weight, where it was seen, and a fix whose lines stand under each other', () => {
  const text = formatVerdict({
    result: 'incompatible',
    containerd: '1.7.27-k3s1',
    distribution: 'k3s',
    reasons: [
      {
        code: 'layers-discarded',
        weighs: 'incompatible',
        sentence: 'layers go',
        evidence: [
          { source: 'file', file: '/etc/config.toml', line: 7, value: 'discard_unpacked_layers = true' },
          { source: 'introspection', value: 'discard_unpacked_layers = true' },
        ],
        fix: 'set\n  a = 1',
      },
      { code: 'probe-failed', weighs: 'note', sentence: 'it hangs', evidence: [], fix: undefined },
    ],
  });

  assert.equal(
    text,
    `containerd 1.7.27-k3s1 (k3s): incompatible, the mirror is of no use on this node

incompatible  layers go (layers-discarded)
seen          /etc/config.toml:7: discard_unpacked_layers = true
seen          containerd: discard_unpacked_layers = true
fix           set
                a = 1

note          it hangs (probe-failed)
`,
  );
});
