import fs from 'node:fs';
import path from 'node:path';
import { startChildProgram } from '../lab/cluster/child-program.ts';
import type { ControlPlane } from '../lab/cluster/control-plane.ts';
import { CHART, type Manifest, renderChart } from '../lab/cluster/helm.ts';
import type { KubeList } from '../lab/cluster/kube-object.ts';
import { run, until } from '../lab/namespace.ts';

const PORT = 9090;
const START_MS = 30_000;

export interface Sample {
  readonly metric: Readonly<Record<string, string>>;
  readonly value: number;
}

/** Debian's Prometheus, which is led to its targets by the chart's ServiceMonitor, and has the chart's alerts. */
export interface Prometheus {
  query(expression: string): Promise<readonly Sample[]>;
  /** Those that fire now, and what of. */
  firing(): Promise<readonly Readonly<Record<string, string>>[]>;
  stop(): Promise<void>;
}

/** Of the kind that https://prometheus-operator.dev/docs/api-reference/api/ has, what the chart uses. */
interface ServiceMonitor extends Manifest {
  readonly spec: {
    readonly selector: { readonly matchLabels: Readonly<Record<string, string>> };
    readonly endpoints: readonly {
      readonly port: string;
      readonly path: string;
      readonly relabelings: readonly { readonly sourceLabels: readonly string[]; readonly targetLabel: string }[];
    }[];
  };
}

/** Listens at the control plane's address. Throws ERR_LAB_COMMAND_FAILED when promtool has something against the alerts. */
export async function startPrometheus(
  plane: ControlPlane,
  namespace: string,
  signal: AbortSignal,
): Promise<Prometheus> {
  const folder = path.join(plane.folder, 'prometheus');
  fs.mkdirSync(folder);
  const file = (name: string) => path.join(folder, name);
  await run(['promtool', 'check', 'rules', '--lint-fatal', path.join(CHART, 'files', 'alerts.yaml')], {}, signal);
  const alerts = fs.readFileSync(path.join(CHART, 'files', 'alerts.yaml'), 'utf8');
  fs.writeFileSync(file('alerts.yaml'), alerts.replaceAll(/for: \S+/g, 'for: 1s')); // Nobody waits here for minutes.
  const manifests = await renderChart(
    ['--set=image.repository=registry.example/miroir', '--set=metrics.serviceMonitor.enabled=true'],
    signal,
  );
  const monitor = manifests.find(({ kind }) => kind === 'ServiceMonitor') as ServiceMonitor;
  fs.writeFileSync(file('config.yaml'), JSON.stringify(await configOf(monitor, plane, namespace)));
  const address = `${plane.address}:${PORT}`;
  const flags = [
    `--config.file=${file('config.yaml')}`,
    `--storage.tsdb.path=${file('data')}`,
    `--web.listen-address=${address}`,
  ];
  const program = startChildProgram(['prometheus', ...flags], file('log'));
  const ask = async (path: string) => (await fetch(`http://${address}${path}`, { signal })).json();
  try {
    const isReady = () =>
      fetch(`http://${address}/-/ready`).then(
        ({ ok }) => ok,
        () => false,
      );
    await until(isReady, AbortSignal.any([signal, AbortSignal.timeout(START_MS)]), () => program.logTail());
  } catch (error) {
    await program.stop('SIGKILL');
    throw error;
  }
  return {
    query: async (expression) => {
      const answer = (await ask(`/api/v1/query?query=${encodeURIComponent(expression)}`)) as Answer;
      if (answer.status !== 'success') throw new Error(`${expression}: ${answer.error}`);
      return answer.data.result.map(({ metric, value: [, value] }) => ({ metric, value: Number(value) }));
    },
    firing: async () => {
      const { data } = (await ask('/api/v1/alerts')) as Alerts;
      return data.alerts.filter(({ state }) => state === 'firing').map(({ labels }) => labels);
    },
    stop: () => program.stop(),
  };
}

interface Answer {
  readonly status: string;
  readonly error?: string;
  readonly data: {
    readonly result: readonly {
      readonly metric: Readonly<Record<string, string>>;
      readonly value: readonly [number, string];
    }[];
  };
}

interface Alerts {
  readonly data: {
    readonly alerts: readonly { readonly state: string; readonly labels: Readonly<Record<string, string>> }[];
  };
}

/**
 * As the operator turns a ServiceMonitor into https://prometheus.io/docs/prometheus/latest/configuration/configuration/, but
 * for the targets: they are found once, here, since Debian's Prometheus is built without what finds those of Kubernetes.
 */
async function configOf(monitor: ServiceMonitor, plane: ControlPlane, namespace: string): Promise<object> {
  const { selector, endpoints } = monitor.spec;
  const scrapes = endpoints.map(async (endpoint) => ({
    job_name: endpoint.port,
    metrics_path: endpoint.path,
    static_configs: await findTargets(plane, namespace, selector.matchLabels, endpoint.port),
    relabel_configs: endpoint.relabelings.map(({ sourceLabels, targetLabel }) => ({
      source_labels: sourceLabels,
      target_label: targetLabel,
    })),
  }));
  return {
    global: { scrape_interval: '2s', evaluation_interval: '1s' },
    rule_files: ['alerts.yaml'],
    scrape_configs: await Promise.all(scrapes),
  };
}

async function findTargets(
  { call }: ControlPlane,
  namespace: string,
  labels: Readonly<Record<string, string>>,
  port: string,
): Promise<readonly object[]> {
  const selector = Object.entries(labels).map(([name, value]) => `${name}=${value}`);
  const query = `labelSelector=${encodeURIComponent(selector.join(','))}`;
  const { body } = await call<KubeList<EndpointSlice>>(
    'GET',
    `/apis/discovery.k8s.io/v1/namespaces/${namespace}/endpointslices?${query}`,
  );
  const targets = body.items.flatMap((slice) =>
    slice.ports
      .filter(({ name }) => name === port)
      .flatMap((of) => slice.endpoints.map((endpoint) => ({ ...endpoint, port: of.port }))),
  );
  return Promise.all(
    targets.map(async ({ addresses, targetRef, port: number }) => {
      const pod = (await call('GET', `/api/v1/namespaces/${namespace}/pods/${targetRef.name}`)).body;
      const podLabels = Object.entries(pod.metadata.labels);
      return {
        targets: addresses.map((address) => `${address}:${number}`),
        labels: {
          __meta_kubernetes_pod_node_name: pod.spec.nodeName,
          ...Object.fromEntries(
            podLabels.map(([name, value]) => [`__meta_kubernetes_pod_label_${name.replaceAll(/\W/g, '_')}`, value]),
          ),
        },
      };
    }),
  );
}

interface EndpointSlice {
  readonly ports: readonly { readonly name: string; readonly port: number }[];
  readonly endpoints: readonly {
    readonly addresses: readonly string[];
    readonly targetRef: { readonly name: string };
  }[];
}

/** What the dashboard's panels ask, with a quarter of an hour in place of Grafana's variables. */
export function dashboardQueries(): readonly (readonly [panel: string, expression: string])[] {
  const { panels } = JSON.parse(fs.readFileSync(path.join(CHART, 'files', 'dashboard.json'), 'utf8')) as Dashboard;
  return panels.flatMap(({ title, targets = [] }) =>
    targets.map(({ expr }) => [title, expr.replaceAll(/\$__(rate_interval|range)\b/g, '15m')] as const),
  );
}

interface Dashboard {
  readonly panels: readonly { readonly title: string; readonly targets?: readonly { readonly expr: string }[] }[];
}
