// Decides questions by policies, and compares each answer with the expected one.
//
// Reads JSON lines from standard input. The first is {identity: {role ARN: [{name, policy}]}, resource: {ARN: policy}}: the policies that
// the program rendered. Each other is a question {who, action, resource, account, resourcePolicy, context, allowed, by}: may the session
// of that role, or that service, do the action to the resource; and if so, which statement says so. Prints how many it decided and what differs; exits
// with 1 when anything differs.
import { createInterface } from 'node:readline'
import { createValidatedPolicy, validateIdentityPolicy, validateResourcePolicy } from '@cloud-copilot/iam-policy'
import { runSimulation, runUnsafeSimulation } from '@cloud-copilot/iam-simulate'

const shown = 20
let policies
let decided = 0
let allowed = 0
let differing = 0

function differs(question, text) {
  differing++
  if (differing <= shown) {
    console.log(`differs: ${question.who} ${question.action} ${question.resource} ${JSON.stringify(question.context)}: ${text}`)
  }
}

// The statements of the role's own policies that allowed the request.
function allowing(analysis) {
  return (analysis?.identityAnalysis?.allowStatements ?? []).map((s) => s.explain.identifier)
}

function simulation(question) {
  const role = question.who.startsWith('arn:')
  return {
    request: {
      principal: role ? question.who.replace(':iam:', ':sts:').replace(':role/', ':assumed-role/') + '/session' : question.who,
      action: question.action,
      resource: { resource: question.resource, accountId: question.account },
      contextVariables: { 'aws:SecureTransport': 'true', ...(role ? { 'aws:PrincipalArn': question.who } : {}), ...question.context },
    },
    identityPolicies: policies.identity[question.who] ?? [],
    serviceControlPolicies: [],
    resourceControlPolicies: [],
    resourcePolicy: policies.resource[question.resourcePolicy],
  }
}

async function decide(question) {
  decided++
  // The checked form drops kms:EncryptionContext:… from requests, because it knows the key only with its placeholder. The other form
  // takes a request as it is, and decides it by the same code.
  if (question.action.startsWith('kms:')) {
    compare(question, runUnsafeSimulation(simulation(question), {}), undefined)
    return
  }
  const answer = await runSimulation(simulation(question), {})
  if (answer.resultType !== 'single') {
    differs(question, `no decision: ${JSON.stringify(answer.errors ?? answer.resultType)}`)
    return
  }
  compare(question, answer.overallResult, allowing(answer.result.analysis))
}

function compare(question, result, by) {
  const may = result === 'Allowed'
  if (may) {
    allowed++
  }
  if (may !== question.allowed) {
    differs(question, `policies say ${result} ${by ?? ''}, the table says ${question.allowed ? 'allowed' : 'denied'}`)
  } else if (may && question.by && !by.includes(question.by)) {
    differs(question, `allowed by ${by}, the table names ${question.by}`)
  }
}

// Each policy is validated once, not once a question; one that is not valid fails every question that it is asked for.
function load({ identity, resource }) {
  return {
    identity: Object.fromEntries(
      Object.entries(identity).map(([who, list]) => [
        who,
        list.map(({ name, policy }) => ({ name, policy: createValidatedPolicy(policy, validateIdentityPolicy, { name }) })),
      ]),
    ),
    resource: Object.fromEntries(
      Object.entries(resource).map(([arn, policy]) => [arn, createValidatedPolicy(policy, validateResourcePolicy, { name: arn })]),
    ),
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  if (policies === undefined) {
    policies = load(JSON.parse(line))
  } else {
    await decide(JSON.parse(line))
  }
}
console.log(`${decided} decisions, ${allowed} allowed, ${differing} differ from the access table`)
process.exit(differing > 0 || decided === 0 ? 1 : 0)
