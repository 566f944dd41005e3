import fc from 'fast-check';

const KEY = 'miroir.dev/containerd';
const MODES = ['block', 'require', 'prefer', 'wait', 'off'];
const APPLIED = [...MODES, 'bypassed', 'nonsense', ''];

const expression = fc.oneof(
  fc.constantFrom(
    { key: KEY, operator: 'NotIn', values: ['incompatible'] },
    { key: KEY, operator: 'In', values: ['compatible'] },
    { key: KEY, operator: 'In', values: ['compatible', 'other'] },
  ),
  fc.record({ key: fc.constantFrom('zone', 'disk'), operator: fc.constant('Exists') }),
  fc.record({ key: fc.constant('zone'), operator: fc.constant('NotIn'), values: fc.constant(['a', 'b']) }),
);
const field = fc.constant({ key: 'metadata.name', operator: 'In', values: ['n1'] });

/** Absent, empty, or not. */
const term = fc.record(
  {
    matchExpressions: fc.array(expression, { maxLength: 3 }),
    matchFields: fc.array(field, { maxLength: 1 }),
  },
  { requiredKeys: [] },
);

const nodeAffinity = fc.record(
  {
    requiredDuringSchedulingIgnoredDuringExecution: fc.record({
      nodeSelectorTerms: fc.array(term, { minLength: 1, maxLength: 4 }),
    }),
    preferredDuringSchedulingIgnoredDuringExecution: fc.array(
      fc.record({ weight: fc.integer({ min: 1, max: 100 }), preference: term }),
      { maxLength: 3 },
    ),
  },
  { requiredKeys: [] },
);

const affinity = fc.record(
  { nodeAffinity, podAntiAffinity: fc.constant({}), podAffinity: fc.constant({}) },
  { requiredKeys: [] },
);

const annotations = fc.record(
  {
    'miroir.dev/gate': fc.constantFrom(...MODES, 'nonsense'),
    'miroir.dev/admitted': fc.constantFrom('1.2.3', '0.0.1'),
    'miroir.dev/gate-applied': fc.constantFrom(...APPLIED),
    'miroir.dev/sidecar': fc.constantFrom('enabled', 'enabled', 'disabled', 'maybe'),
    'miroir.dev/sidecar-applied': fc.constantFrom('injected', 'port-taken'),
    'a~b/c~1': fc.string({ maxLength: 20 }),
    '/-': fc.constant('x'),
  },
  { requiredKeys: [] },
);

const initContainer = fc.constantFrom(
  { name: 'first', image: 'registry.example/app:v1' },
  { name: 'miroir-agent', image: 'registry.example/app:v1' },
  { name: 'miroir-agent', image: 'registry.example/app:v1', restartPolicy: 'Always' },
);

const shape = fc.record({
  metadata: fc.record(
    {
      name: fc.constant('app'),
      labels: fc.record(
        { app: fc.constant('app'), 'miroir.dev/mirror': fc.constantFrom('enabled', 'disabled', 'maybe') },
        { requiredKeys: [] },
      ),
      annotations,
    },
    { requiredKeys: ['name'] },
  ),
  spec: fc.record(
    {
      containers: fc.constantFrom(
        [{ name: 'app', image: 'registry.example/app:v1' }],
        [{ name: 'app', image: 'registry.example/app:v1', ports: [{ containerPort: 29_981 }] }],
      ),
      initContainers: fc.uniqueArray(initContainer, { maxLength: 2, selector: ({ name }) => name }),
      volumes: fc.uniqueArray(fc.constantFrom({ name: 'data' }, { name: 'miroir-pod-token' }), {
        selector: ({ name }) => name,
      }),
      hostNetwork: fc.boolean(),
      serviceAccountName: fc.constant('default'),
      affinity,
      nodeName: fc.constantFrom('', 'n1'),
      schedulingGates: fc.constantFrom([], [{ name: 'example.com/gate' }], [{ name: 'miroir.dev/mirror-ready' }]),
      nodeSelector: fc.constantFrom({}, { zone: 'a' }, { 'kubernetes.io/os': 'windows' }),
    },
    { requiredKeys: ['containers'] },
  ),
});

/** Pods, mostly such as the apiserver takes, with everything that the gate touches present, empty and absent. */
export const pod = shape.map((value) => JSON.parse(JSON.stringify(value)) as typeof value);
