import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { capacityPage } from '../../analysis/capacity/page.ts';
import {
  capacityPublication,
  runPublication,
  statementPublication,
  withoutAddresses,
} from '../../analysis/publication/build-publication.ts';
import { reportPage } from '../../analysis/report/page.ts';
import { statementPage } from '../../analysis/statement/view.ts';
import { AppError } from '../../core/errors.ts';
import { listOf, type ResolvedOptions, text, value } from '../../core/options.ts';
import { shownUrl } from '../../core/text.ts';
import { countOf, refused } from '../../core/units.ts';
import type { TestedDocument } from '../../documents/parts.ts';
import type { PublicationDocument } from '../../documents/publication.ts';
import { CAPACITY_FILE, STATEMENT_FILE } from '../../storage/capture/directory.ts';
import { type ExecutorOutputs, executorOutputsOf, publishToKubeflow } from '../../trackers/kubeflow.ts';
import { publishToMlflow } from '../../trackers/mlflow.ts';
import { publishOffline } from '../../trackers/offline.ts';
import type { Artefact, Delivery, TrackedRun } from '../../trackers/tracker.ts';
import { readCapacityDocument } from '../capacity/state.ts';
import { pageAssets } from '../package.ts';
import { REPORT_OPTIONS, reportInThread } from '../report.ts';
import { writeWhole } from '../staged-output.ts';
import { readDocument } from '../statement/files.ts';

/** A destination for a run. */
type Destination =
  | { readonly kind: 'mlflow'; readonly url: string }
  | { readonly kind: 'wandb' | 'clearml'; readonly directory: string }
  | { readonly kind: 'kubeflow'; readonly outputs: ExecutorOutputs }
  | { readonly kind: 'file'; readonly file: string };

const DESTINATIONS = 'mlflow://HOST:PORT, wandb:DIR, clearml:DIR, kubeflow:INPUT (in a task) or FILE.json';

/** Parses a value of `--to`. @throws AppError OPTION_INVALID */
function parseDestination(stated: string, what: string): Destination {
  // The JSON of a task comes first, because it may contain text that looks like another destination.
  if (stated.startsWith('kubeflow:')) {
    return { kind: 'kubeflow', outputs: executorOutputsOf(stated.slice('kubeflow:'.length)) };
  }
  const [, scheme = '', rest = ''] = /^([a-z][a-z+]*):(.*)$/.exec(stated) ?? [];
  if (scheme === 'wandb' || scheme === 'clearml') {
    if (rest !== '') return { kind: scheme, directory: rest };
  } else if (['mlflow', 'mlflow+http', 'mlflow+https'].includes(scheme)) {
    return { kind: 'mlflow', url: mlflowUrl(scheme, rest, stated, what) };
  } else if (scheme === '' && stated.endsWith('.json')) return { kind: 'file', file: stated };
  throw refused(what, shownUrl(stated), `is not ${DESTINATIONS}`, 'Such as --to mlflow://127.0.0.1:5000.');
}

/** Without a stated protocol, HTTP is used for a server on this machine and HTTPS for any other. */
function mlflowUrl(scheme: string, rest: string, stated: string, what: string): string {
  const url = URL.canParse(`http:${rest}`) ? new URL(`http:${rest}`) : null;
  if (url === null || !rest.startsWith('//') || url.search !== '' || url.hash !== '') {
    throw refused(
      what,
      shownUrl(stated),
      'is no address of an MLflow server',
      'Such as mlflow://127.0.0.1:5000.',
    );
  }
  if (url.username !== '' || url.password !== '') {
    const hint = 'Set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN.';
    throw refused(what, shownUrl(stated), 'holds credentials, which others could see', hint);
  }
  const isLocal = /^(?:localhost|127\.\d+\.\d+\.\d+|\[::1\])$/.test(url.hostname);
  const protocol = scheme === 'mlflow' ? (isLocal ? 'http' : 'https') : scheme.slice('mlflow+'.length);
  return `${protocol}:${rest}`.replace(/\/+$/, '');
}

/** No address: names have no dots and ports, so that they cannot be one by accident. */
const TARGET_NAME = /^[a-z0-9][\w-]{0,62}$/i;

function parseTargetName(stated: string, what: string): string {
  if (TARGET_NAME.test(stated)) return stated;
  throw refused(
    what,
    stated,
    'is not a name of letters, digits, - and _',
    'Such as --target-name staging-a.',
  );
}

export const PUBLISH_OPTIONS = {
  to: listOf('--to <where>', `where the run goes: ${DESTINATIONS}`, parseDestination, { required: true }),
  experiment: text('--experiment <name>', 'experiment or project that it belongs to', { default: 'reprise' }),
  targetName: value(
    '--target-name <name>',
    'what the target is called instead of its address (default: its label target, else target)',
    parseTargetName,
  ),
  python: text('--python <program>', 'Python that has the SDK of W&B or ClearML', { default: 'python3' }),
  ...REPORT_OPTIONS,
};
export type PublishRequest = ResolvedOptions<typeof PUBLISH_OPTIONS>;

/** The result for one destination. */
export interface PublishedTo extends Delivery {
  /** As the user named it. */
  readonly to: string;
}

/**
 * Publishes a run, a statement, or a search with its steps. All published data is without addresses and paths. After a failure the
 * other destinations are still tried.
 * @param directory the directory of a run of `replay` or `merge`, of a search or of a statement
 * @param environment contains the credentials
 * @param onPublished called after each successful destination
 * @throws AppError INPUT_INVALID for an incomplete run; TRACKER_FAILED or OUTPUT_UNWRITABLE at the end, naming all
 *   destinations that failed
 */
export async function publish(
  directory: string,
  { to, experiment, python, capture, targetName }: PublishRequest,
  environment: NodeJS.ProcessEnv,
  onPublished: (published: PublishedTo) => void = () => undefined,
): Promise<PublishedTo[]> {
  const tracked = { experiment, ...(await tracking(directory, capture, targetName)) };
  const published: PublishedTo[] = [];
  const failures: { name: string; error: AppError }[] = [];
  for (const destination of to) {
    const name = nameOf(destination);
    try {
      const delivered = { to: name, ...(await deliver(destination, tracked, python, environment)) };
      published.push(delivered);
      onPublished(delivered);
    } catch (thrown) {
      if (!(thrown instanceof AppError)) throw thrown;
      failures.push({ name, error: thrown });
    }
  }
  const [first] = failures;
  if (first === undefined) return published;
  if (to.length === 1) throw first.error;
  const said = failures.map(({ name, error }) => `${name}: ${error.message}`).join('; ');
  const count = `${failures.length} of ${countOf(to.length, 'destination')} failed`;
  throw new AppError(first.error.code, `${count}: ${said}`, { hint: first.error.hint, cause: first.error });
}

async function tracking(
  directory: string,
  capture: string | null,
  targetName: string | null,
): Promise<Omit<TrackedRun, 'experiment'>> {
  if (existsSync(join(directory, CAPACITY_FILE))) return trackedSearch(directory, targetName);
  if (existsSync(join(directory, STATEMENT_FILE))) return trackedStatement(directory, targetName);
  const whole = await reportInThread({ directory, capture });
  if (whole.summary === null) {
    throw new AppError('INPUT_INVALID', `the run ${directory} never came to its end`, {
      hint: 'Only whole runs are published; reprise report shows what this one holds.',
    });
  }
  const paths = [directory, resolve(directory), whole.summary.capture, whole.recording.capture ?? ''];
  for (const shard of whole.summary.merged?.shards ?? []) paths.push(shard.run);
  const name = nameOfTarget(whole.summary, targetName);
  const report = withoutAddresses(whole, whole.summary.target, paths, name);
  const { summary } = report;
  if (summary === null) throw new AppError('INTERNAL', 'the summary was lost');
  return {
    publication: runPublication(report, summary),
    artefacts: [page('report.html', reportPage(report, pageAssets())), json('report.json', report)],
  };
}

function nameOfTarget({ labels = {} }: TestedDocument, stated: string | null): string {
  const label = labels['target'];
  return stated ?? (label !== undefined && TARGET_NAME.test(label) ? label : 'target');
}

function trackedSearch(directory: string, targetName: string | null): Omit<TrackedRun, 'experiment'> {
  const whole = readCapacityDocument(directory);
  const paths = [directory, resolve(directory), whole.directory, whole.capture];
  const document = withoutAddresses(whole, whole.target, paths, nameOfTarget(whole, targetName));
  return {
    publication: capacityPublication(document),
    artefacts: [page('capacity.html', capacityPage(document, pageAssets())), json('capacity.json', document)],
  };
}

function trackedStatement(directory: string, targetName: string | null): Omit<TrackedRun, 'experiment'> {
  const whole = readDocument(directory);
  const paths = [directory, resolve(directory), whole.directory, whole.capture];
  const document = withoutAddresses(whole, whole.target, paths, nameOfTarget(whole, targetName));
  return {
    publication: statementPublication(document),
    artefacts: [
      page('statement.html', statementPage(document, pageAssets())),
      json('statement.json', document),
    ],
  };
}

function page(name: string, content: string): Artefact {
  return { name, mediaType: 'text/html', content };
}

function json(name: string, document: object): Artefact {
  return { name, mediaType: 'application/json', content: `${JSON.stringify(document, null, 2)}\n` };
}

/** The destination in the user's words, without credentials and without the input of a task. */
function nameOf(destination: Destination): string {
  switch (destination.kind) {
    case 'file':
      return destination.file;
    case 'mlflow':
      return shownUrl(destination.url);
    case 'kubeflow':
      return 'kubeflow';
    default:
      return `${destination.kind}:${destination.directory}`;
  }
}

async function deliver(
  destination: Destination,
  tracked: TrackedRun,
  python: string,
  environment: NodeJS.ProcessEnv,
): Promise<Delivery> {
  switch (destination.kind) {
    case 'file':
      writeWhole(resolve(destination.file), json(destination.file, tracked.publication).content);
      return { run: destination.file, ...countsOf(tracked.publication) };
    case 'mlflow': {
      const { url } = destination;
      return await publishToMlflow({ url, authorization: mlflowAuthorization(environment), pause }, tracked);
    }
    case 'kubeflow':
      return publishToKubeflow(destination.outputs, tracked);
    default:
      return await publishOffline(destination.kind, destination.directory, python, tracked);
  }
}

function countsOf({ children }: PublicationDocument): Pick<Delivery, 'children' | 'notes'> {
  return { children: children.length, notes: [] };
}

/** Reads the same variables as MLflow's own client. */
function mlflowAuthorization(environment: NodeJS.ProcessEnv): string | null {
  const token = environment['MLFLOW_TRACKING_TOKEN'];
  if (token) return `Bearer ${token}`;
  const user = environment['MLFLOW_TRACKING_USERNAME'];
  if (!user) return null;
  const pair = `${user}:${environment['MLFLOW_TRACKING_PASSWORD'] ?? ''}`;
  return `Basic ${Buffer.from(pair).toString('base64')}`;
}
