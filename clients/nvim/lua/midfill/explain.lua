-- Explanations in a float as they are written, and what is sent to the model for a completion.
local client = require('midfill.client')
local float = require('midfill.float')

local M = {}

---@type table<string, fun(told: table)> who shows an explanation, by its id
local showing = {}
local last_id = 0

--- Take a `midfill/explanation`.
---@param told table
function M.told(told)
  if showing[told.id] then
    showing[told.id](told)
  end
end

--- Explain the lines of a range, or what stands around the caret.
---@param range table of the protocol
function M.explain(range)
  local bufnr = vim.api.nvim_get_current_buf()
  local server = client.of(bufnr)
  if not server then
    return false
  end
  last_id = last_id + 1
  local id, parts = tostring(last_id), { facts = '', thought = '', delta = '' }
  local show, shown_in = float.open('Midfill', 'markdown')
  local function draw(note)
    local text = parts.facts
    if parts.delta ~= '' then
      text = text .. '\n' .. parts.delta
    elseif parts.thought ~= '' then
      text = text .. '\n*Thinking …*\n'
    end
    show(vim.trim(text .. (note and note ~= '' and '\n\n*' .. note .. '*' or '')))
  end
  showing[id] = function(told)
    if told.kind == 'done' then
      draw(told.markdown)
    else
      parts[told.kind] = (parts[told.kind] or '') .. told.markdown
      draw()
    end
  end
  local params = { id = id, textDocument = { uri = vim.uri_from_bufnr(bufnr) }, range = range }
  local cancel = client.ask(server, 'midfill/explain', params, bufnr, function(error)
    showing[id] = nil
    if error then
      show(error.message)
    end
  end)
  vim.api.nvim_create_autocmd('BufWipeout', {
    buffer = shown_in,
    once = true,
    callback = function()
      showing[id] = nil
      cancel()
    end,
  })
  return true
end

--- Show what would be sent for a completion at the caret.
function M.prompt()
  local bufnr = vim.api.nvim_get_current_buf()
  local server = client.of(bufnr)
  if not server then
    return false
  end
  local params = vim.lsp.util.make_position_params(0, server.offset_encoding)
  client.ask(server, 'midfill/prompt', params, bufnr, function(error, report)
    local show = float.open('What Midfill sends here', '')
    if error or not report or report == vim.NIL then
      show(error and error.message or 'This document is not open in the server.')
      return
    end
    local lines = { ('%s, %s, %d tokens'):format(report.model, report.layout, report.tokens), '' }
    for _, piece in ipairs(report.pieces) do
      lines[#lines + 1] = piece.control and '⟨' .. piece.control .. '⟩' or piece.text or ''
    end
    for _, each in ipairs(report.leftOut or {}) do
      lines[#lines + 1] = ('left out: %s (%s)'):format(each.path, each.why)
    end
    show(table.concat(lines, '\n'))
  end)
  return true
end

return M
