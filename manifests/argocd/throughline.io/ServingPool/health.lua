-- Health of a Throughline resource as kstatus reads it: what was seen, then Stalled, Reconciling, Ready.
-- A missed SLO is no fault of what was synced: it stays Healthy, and the message tells.
-- A run and a revision have one condition of their own in place of Ready.
local conditions = {}
for _, condition in ipairs((obj.status or {}).conditions or {}) do
  conditions[condition.type] = condition
end

local function is(kind, status)
  return conditions[kind] ~= nil and conditions[kind].status == status
end

local function said(kind)
  local condition = conditions[kind]
  if condition.message ~= nil and condition.message ~= "" then
    return condition.reason .. ": " .. condition.message
  end
  return condition.reason
end

local generation = (obj.metadata or {}).generation
local observed = (obj.status or {}).observedGeneration
if observed == nil or observed < 0 or (generation ~= nil and observed ~= generation) then
  return { status = "Progressing", message = "Waiting for the operator to see this version of the spec" }
end
if is("Stalled", "True") then
  return { status = "Degraded", message = said("Stalled") }
end
if is("Reconciling", "True") then
  return { status = "Progressing", message = said("Reconciling") }
end
local summary = "Ready"
for _, kind in ipairs({ "Succeeded", "Admitted" }) do
  summary = conditions[kind] ~= nil and kind or summary
end
if is(summary, "True") then
  if is("SLOMet", "False") then
    return { status = "Healthy", message = said("SLOMet") }
  end
  return { status = "Healthy", message = said(summary) }
end
if is(summary, "False") then
  return { status = "Degraded", message = said(summary) }
end
if conditions[summary] ~= nil and conditions[summary].reason ~= "NotYetObserved" then
  return { status = "Progressing", message = said(summary) }
end
return { status = "Progressing", message = "Waiting for the operator to judge the resource" }
