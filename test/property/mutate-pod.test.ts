import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { type AdmissionContext, mutatePod } from '../../webhook/admission/mutate-pod.ts';
import { parsePod } from '../../webhook/admission/pod.ts';
import { applyPatch } from './apply-patch.ts';
import { onlyWhatWasThere } from './only-what-was-there.ts';
import { pod } from './pod-arbitrary.ts';

const bypass = fc.record({
  block: fc.constantFrom(undefined, 'no node is compatible'),
  require: fc.constantFrom(undefined, 'no node is compatible'),
  wait: fc.constantFrom(undefined, 'nobody lifts gates'),
});
const SIDECAR = {
  image: 'miroir',
  mirrorPort: 29_986,
  resources: { requests: {}, limits: {} },
  flags: ['--answer-tags=on'],
};
const context: fc.Arbitrary<AdmissionContext> = fc.record({
  namespace: fc.record({
    name: fc.constantFrom('team', 'miroir'),
    labels: fc.constantFrom({ 'miroir.dev/mirror': 'enabled' }, {}),
    annotations: fc.constantFrom(
      {},
      { 'miroir.dev/gate': 'require' },
      { 'miroir.dev/gate': 'nonsense' },
      { 'miroir.dev/sidecar': 'enabled' },
    ),
  }),
  version: fc.constant('1.2.3'),
  ownNamespace: fc.constant('miroir'),
  bypass,
  sidecar: fc.constantFrom(undefined, SIDECAR),
});

function mutate(object: object, options: AdmissionContext) {
  const parsed = parsePod(object);
  assert.ok(parsed);
  return mutatePod(parsed, options);
}

test('a patch applied twice is the patch applied once, and what was decided stays, whatever happens in between', () => {
  fc.assert(
    fc.property(pod, context, bypass, (object, options, laterBypass) => {
      const first = mutate(object, options);
      const patched = applyPatch(object, first.patch);

      const second = mutate(patched, { ...options, bypass: laterBypass });

      assert.deepEqual(second.patch, []);
      assert.deepEqual(second.decision, first.decision);
    }),
  );
});

test('a patch only adds: everything that the user wrote is there as it was', () => {
  fc.assert(
    fc.property(pod, context, (object, options) => {
      const { patch } = mutate(object, options);

      const patched = applyPatch(object, patch);

      assert.deepEqual(onlyWhatWasThere(patched, object), object);
    }),
  );
});

test('of a required affinity no alternative that a node can match is left without the gate', () => {
  fc.assert(
    fc.property(pod, context, (object, options) => {
      const { decision, patch } = mutate(object, options);
      if (decision.outcome !== 'admitted' || (decision.gate !== 'block' && decision.gate !== 'require')) return;
      const operator = decision.gate === 'block' ? 'NotIn' : 'In';

      const { nodeAffinity } = applyPatch(object, patch).spec.affinity as { nodeAffinity: Required<NodeAffinity> };

      const terms = nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms;
      for (const { matchExpressions = [], matchFields = [] } of terms) {
        if (matchExpressions.length + matchFields.length === 0) continue;
        assert.ok(matchExpressions.some((one) => one.key === 'miroir.dev/containerd' && one.operator === operator));
      }
    }),
  );
});

test('an agent is before all other containers, once, or it is said why not', () => {
  fc.assert(
    fc.property(pod, context, (object, options) => {
      const { decision, patch, warnings } = mutate(object, options);
      if (decision.outcome !== 'admitted') return;

      const { metadata, spec } = applyPatch(object, patch) as Patched;

      assert.equal(decision.sidecar, decision.sidecar && metadata.annotations['miroir.dev/sidecar-applied']);
      const named = (spec.initContainers ?? []).filter(({ name }) => name === 'miroir-agent');
      if (decision.sidecar === 'injected') assert.equal(named.length, 1);
      else if (decision.sidecar !== undefined) assert.ok(warnings.some((text) => text.includes('gets no agent')));
      if (patch.some(({ path }) => path.startsWith('/spec/initContainers')))
        assert.equal(spec.initContainers?.[0]?.name, 'miroir-agent');
    }),
  );
});

interface Patched {
  readonly metadata: { readonly annotations: Readonly<Record<string, string>> };
  readonly spec: { readonly initContainers?: readonly { readonly name: string }[] };
}

interface NodeAffinity {
  readonly requiredDuringSchedulingIgnoredDuringExecution?: {
    readonly nodeSelectorTerms: readonly {
      readonly matchExpressions?: readonly { readonly key: string; readonly operator: string }[];
      readonly matchFields?: readonly object[];
    }[];
  };
}

test('anything at all is a pod or is not, and never an exception', () => {
  fc.assert(
    fc.property(fc.anything({ withNullPrototype: true }), fc.anything(), fc.anything(), (metadata, spec, affinity) => {
      parsePod({ metadata, spec });
      parsePod({ metadata: { annotations: metadata, labels: spec }, spec: { affinity } });
      parsePod({ metadata: {}, spec: { affinity: { nodeAffinity: affinity }, schedulingGates: spec } });
    }),
  );
});
