import type { ServerResponse } from 'node:http';
import type { ReplayDocument } from '../../src/documents/replay.ts';
import { captureOf } from '../support/captures.ts';
import { requestsOf } from '../support/replaying.ts';
import type { LoggedRequest } from '../support/request-log-server.ts';

/** Flags for a document, and for looks at the shortest interval. */
export const FAST = ['--json', '--monitor', 'interval=100ms'];

/** A capture that is long enough for some looks at the shortest interval. */
export function meteredCapture(): string {
  return captureOf(requestsOf(60, 20_000));
}

/** A model server with one GPU that counts the requests it served. */
export function metered(gpu: number, text: (served: number) => string = () => '') {
  let served = 0;
  return ({ target }: LoggedRequest, response: ServerResponse) => {
    if (target !== '/metrics') {
      served += 1;
      response.end('{"outputs":[]}');
      return;
    }
    response.setHeader('content-type', 'text/plain; version=0.0.4');
    response.end(
      `nv_gpu_utilization{gpu="0"} ${gpu}\nnv_inference_request_success{model="m"} ${served}\n${text(served)}`,
    );
  };
}

export function seriesOf(document: ReplayDocument, name: string) {
  return document.monitors?.series.find((each) => each.name === name);
}
