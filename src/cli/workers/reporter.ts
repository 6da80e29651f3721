import { parentPort, workerData } from 'node:worker_threads';
import { answerWith } from '../../app/package.ts';
import { type ReportRequest, reportRun } from '../../app/report.ts';

/** The thread that reads a run for its report. Started by `report` only. */
answerWith(parentPort, () => reportRun(workerData as ReportRequest));
