import { join } from 'node:path';
import { TextCounts } from '../core/text.ts';
import {
  countHeaderLosses,
  type ExportedFile,
  type ExportedSend,
  type ExportFormat,
  type ExportSettings,
  type ExportWriter,
  OutputFile,
  REQUESTS_FILE,
  requestLine,
} from './export-writer.ts';
import { locustProgram } from './programs.ts';

const PROGRAM_FILE = 'locustfile.py';

/** A Locust file that plays a schedule, open loop, in one process or as a master with workers. */
export const LOCUST: ExportFormat = {
  name: 'locust',
  summary: 'a Locust file and its data, for one process or a master with workers',
  shape: 'directory',
  holds: 'requests',
  takes: ['target'],
  needsTarget: false,
  cannotCarry: [
    'the order, the case and the repetition of header names',
    'the chunked transfer coding: bodies go with their length',
    'the connections requests came on',
    'what the client adds: User-Agent and Accept-Encoding where the request has none',
    'responses: Locust counts every 4xx and 5xx as a failure, even if it was recorded',
  ],
  open: (path, settings) => new LocustWriter(path, settings),
};

class LocustWriter implements ExportWriter {
  readonly lost = new TextCounts();
  readonly #program: OutputFile;
  readonly #requests: OutputFile;
  readonly #hasOrigin: boolean;

  constructor(directory: string, { origin }: ExportSettings) {
    this.#hasOrigin = origin !== null;
    this.#program = new OutputFile(join(directory, PROGRAM_FILE));
    this.#requests = new OutputFile(join(directory, REQUESTS_FILE));
    this.#program.write(locustProgram(origin));
  }

  get files(): readonly ExportedFile[] {
    return [
      { name: PROGRAM_FILE, bytes: this.#program.bytes },
      { name: REQUESTS_FILE, bytes: this.#requests.bytes },
    ];
  }

  get usage(): readonly string[] {
    const host = this.#hasOrigin ? '' : ' --host URL';
    return [
      `locust -f ${PROGRAM_FILE} --headless${host}`,
      `locust -f ${PROGRAM_FILE} --headless${host} --master --expect-workers N; on each machine: locust -f ${PROGRAM_FILE} --worker --master-host HOST`,
    ];
  }

  add(send: ExportedSend): boolean {
    if (send.request === null) return false;
    countHeaderLosses(send.request.headers, this.lost);
    if (send.request.chunked) this.lost.count('a chunked body: sent with its length');
    this.#requests.write(requestLine(send, send.request));
    return true;
  }

  end(): void {
    this.#program.end();
    this.#requests.end();
  }

  abandon(): void {
    this.#program.abandon();
    this.#requests.abandon();
  }
}
