-- Health of a Throughline resource as kstatus reads it: what was seen, then Stalled, Reconciling, Ready.
-- A missed SLO is no fault of what was synced: it stays Healthy, and the message tells.
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
if is("Ready", "True") then
  if is("SLOMet", "False") then
    return { status = "Healthy", message = said("SLOMet") }
  end
  return { status = "Healthy", message = said("Ready") }
end
if is("Ready", "False") then
  return { status = "Degraded", message = said("Ready") }
end
return { status = "Progressing", message = "Waiting for the operator to judge the resource" }
