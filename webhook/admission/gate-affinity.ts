import type { GateApplied } from '../decision.ts';
import { NODE_LABEL, SCHEDULING_GATE } from '../labels.ts';
import { type AddOperation, add } from './json-patch.ts';
import type { Expression, NodeAffinity, Pod, Term } from './pod.ts';

/** Nodes without the label pass it, so that an autoscaler's new node is of use at once. */
const NOT_INCOMPATIBLE = { key: NODE_LABEL, operator: 'NotIn', values: ['incompatible'] };
const COMPATIBLE = { key: NODE_LABEL, operator: 'In', values: ['compatible'] };
/** The least there is: never more than any preference that the user has. Alone it counts in full all the same. */
const PREFERENCE = { weight: 1, preference: { matchExpressions: [COMPATIBLE] } };

const NODE_AFFINITY = ['spec', 'affinity', 'nodeAffinity'];
const REQUIRED = 'requiredDuringSchedulingIgnoredDuringExecution';
const PREFERRED = 'preferredDuringSchedulingIgnoredDuringExecution';

/** What a gate asks of the scheduler. */
interface Demand {
  readonly required: typeof COMPATIBLE | undefined;
  readonly isPreferred: boolean;
  readonly isHeldBack: boolean;
}

const DEMANDS: Readonly<Record<GateApplied, Demand>> = {
  block: { required: NOT_INCOMPATIBLE, isPreferred: true, isHeldBack: false },
  require: { required: COMPATIBLE, isPreferred: false, isHeldBack: false },
  prefer: { required: undefined, isPreferred: true, isHeldBack: false },
  wait: { required: undefined, isPreferred: true, isHeldBack: true },
  bypassed: { required: undefined, isPreferred: true, isHeldBack: false },
  off: { required: undefined, isPreferred: false, isHeldBack: false },
};

/** What the pod still lacks of the gate: nothing when it has been through here before. */
export function gatePatch(pod: Pod, gate: GateApplied): readonly AddOperation[] {
  const demand = DEMANDS[gate];
  const held = demand.isHeldBack && !pod.schedulingGates?.includes(SCHEDULING_GATE) ? [holdBack(pod)] : [];
  return [...affinityPatch(pod, demand), ...held];
}

function affinityPatch({ affinity }: Pod, { required, isPreferred }: Demand): readonly AddOperation[] {
  if (required === undefined && !isPreferred) return [];
  const node = affinity?.node;
  if (affinity === undefined || node === undefined) {
    const nodeAffinity = {
      ...(required && { [REQUIRED]: { nodeSelectorTerms: [{ matchExpressions: [required] }] } }),
      ...(isPreferred && { [PREFERRED]: [PREFERENCE] }),
    };
    return [affinity === undefined ? add(['spec', 'affinity'], { nodeAffinity }) : add(NODE_AFFINITY, nodeAffinity)];
  }
  return [...(required ? requiredPatch(node, required) : []), ...(isPreferred ? preferredPatch(node) : [])];
}

/** Terms are alternatives: the expression has to be in each of them, or a node could pass by another one. */
function requiredPatch({ required }: NodeAffinity, expression: typeof COMPATIBLE): readonly AddOperation[] {
  const path = [...NODE_AFFINITY, REQUIRED];
  if (required === undefined) return [add(path, { nodeSelectorTerms: [{ matchExpressions: [expression] }] })];
  return required.terms.flatMap((term, index) => {
    if (matchesNothing(term) || hasExpression(term, expression)) return [];
    const expressions = [...path, 'nodeSelectorTerms', index, 'matchExpressions'];
    return [term.expressions === undefined ? add(expressions, [expression]) : add([...expressions, '-'], expression)];
  });
}

/** An empty term would match nodes with our expression in it. */
function matchesNothing({ expressions, hasFields }: Term): boolean {
  return !hasFields && (expressions ?? []).length === 0;
}

function preferredPatch({ preferred }: NodeAffinity): readonly AddOperation[] {
  const path = [...NODE_AFFINITY, PREFERRED];
  if (preferred === undefined) return [add(path, [PREFERENCE])];
  const hasIt = preferred.some(
    (one) => one.weight === PREFERENCE.weight && one.expressions?.length === 1 && hasExpression(one, COMPATIBLE),
  );
  return hasIt ? [] : [add([...path, '-'], PREFERENCE)];
}

function hasExpression({ expressions }: Term, wanted: typeof COMPATIBLE): boolean {
  return (expressions ?? []).some(
    ({ key, operator, values }: Expression) =>
      key === wanted.key &&
      operator === wanted.operator &&
      Array.isArray(values) &&
      values.length === 1 &&
      values[0] === wanted.values[0],
  );
}

function holdBack({ schedulingGates }: Pod): AddOperation {
  const gate = { name: SCHEDULING_GATE };
  const path = ['spec', 'schedulingGates'];
  return schedulingGates === undefined ? add(path, [gate]) : add([...path, '-'], gate);
}
