import { setImmediate } from 'node:timers/promises';
import { hasCode } from '../../common/errors.ts';
import type { Logger } from '../../common/log.ts';
import type { KubeClient } from '../kube/client.ts';
import type { Reflector } from '../kube/reflector.ts';
import {
  decideNode,
  NO_MEMORY,
  type NodeChange,
  type NodeMemory,
  type NodeTimes,
  type SeenVerdict,
  type Sighting,
} from './decide-node.ts';
import { eachAtOnce } from './each-at-once.ts';
import type { RecordEvent } from './events.ts';
import { type Mirror, mirrorsByNode } from './mirrors.ts';
import type { GateNode, Nodes } from './nodes.ts';
import { writeNode } from './write-node.ts';

export interface LabelNodesDeps {
  readonly client: Pick<KubeClient, 'call'>;
  readonly nodes: Pick<Nodes, 'entries'>;
  readonly mirrors: Pick<Reflector<Mirror>, 'entries'>;
  /** Undefined when the mirror at that address gives none. Throws nothing. */
  readonly readVerdict: (host: string, signal: AbortSignal) => Promise<SeenVerdict | undefined>;
  readonly recordEvent: RecordEvent;
  readonly metrics: LabelNodesMetrics;
  readonly log: Logger;
  /** Milliseconds of a clock that never goes back. */
  readonly now: () => number;
}

export interface LabelNodesMetrics {
  /** What a look at a node showed. */
  looked(word: SeenVerdict['result'] | 'silent' | 'gone'): void;
  nodeWritten(): void;
}

export interface NodeLabeller {
  /** Looks at every node once, and writes what is to be written. Throws what the client throws when a node cannot be written. */
  round(signal: AbortSignal): Promise<void>;
  /** Whether there was a compatible node with a mirror that answers when it looked last. */
  isAnyReady(): boolean;
}

/** A node that is away costs its deadline: this many in a row of 5,000 are asked within a minute when a third of them is away. */
const LOOKS_AT_ONCE = 64;
/** Nodes without a mirror are looked at in no time: this many, and reviews have their turn. */
const LOOKS_IN_A_ROW = 200;
/** Of the client's connections, so that the lease is renewed beside it. */
const WRITES_AT_ONCE = 6;

interface Plan {
  readonly name: string;
  readonly node: GateNode;
  readonly change: NodeChange;
}

/** Keeps the nodes' label, annotation and condition like the verdicts of their mirrors. */
export function createNodeLabeller(deps: LabelNodesDeps, times: NodeTimes): NodeLabeller {
  const { client, nodes, mirrors, readVerdict, recordEvent, metrics, log, now } = deps;
  let memories = new Map<string, NodeMemory>();
  let isAnyReady = false;

  async function look(mirror: Mirror | undefined, signal: AbortSignal): Promise<Sighting> {
    if (mirror === undefined) return { kind: 'gone' };
    const verdict = mirror.hostIp === undefined ? undefined : await readVerdict(mirror.hostIp, signal);
    return verdict === undefined ? { kind: 'silent' } : { kind: 'verdict', verdict };
  }

  async function write({ name, node, change }: Plan, signal: AbortSignal): Promise<void> {
    try {
      await writeNode(client, [name, node], change, signal);
    } catch (error) {
      // It was removed, or replaced, since.
      if (hasCode(error, 'ERR_KUBE_NOT_FOUND') || hasCode(error, 'ERR_KUBE_CONFLICT')) return;
      throw error;
    }
    metrics.nodeWritten();
    log.info('Node labelled', { node: name, label: change.label, verdict: change.told });
    const subject = { apiVersion: 'v1', kind: 'Node', name, uid: node.uid } as const;
    const [reason = 'forgotten'] = change.told?.split(' ') ?? [];
    const type = reason === 'incompatible' ? 'Warning' : 'Normal';
    await recordEvent(subject, { type, reason, message: `${change.told ?? reason}: ${change.message}` }, signal);
  }

  return {
    isAnyReady: () => isAnyReady,
    round: async (signal) => {
      const mirrorOf = mirrorsByNode(mirrors.entries());
      const remembered = new Map<string, NodeMemory>();
      const plans: Plan[] = [];
      let isReadySeen = false;
      let looked = 0;
      await eachAtOnce([...nodes.entries()], LOOKS_AT_ONCE, async ([name, node]) => {
        if (++looked % LOOKS_IN_A_ROW === 0) await setImmediate();
        const sighting = await look(mirrorOf.get(name), signal);
        if (signal.aborted) return; // What was not answered for that reason tells nothing.
        const word = sighting.kind === 'verdict' ? sighting.verdict.result : sighting.kind;
        metrics.looked(word);
        if (word === 'compatible' && node.label !== 'incompatible') isReadySeen = true;
        // By the uid: another node may have got the name.
        const { memory, change } = decideNode(node, memories.get(node.uid) ?? NO_MEMORY, sighting, now(), times);
        remembered.set(node.uid, memory);
        if (change) plans.push({ name, node, change });
      });
      signal.throwIfAborted();
      memories = remembered; // Of nodes that are no more nothing is.
      isAnyReady = isReadySeen;
      await eachAtOnce(plans, WRITES_AT_ONCE, (plan) => write(plan, signal));
    },
  };
}
