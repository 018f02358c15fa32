-- `:Midfill WORD`: what can be asked for by name.
local client = require('midfill.client')
local ghost = require('midfill.ghost')

local M = {}

local function say(sentence)
  vim.notify('Midfill: ' .. sentence)
end

local NO_SERVER = 'no server is attached to this buffer; see :checkhealth midfill.'

local function send(command, arguments)
  local bufnr = vim.api.nvim_get_current_buf()
  local server = client.of(bufnr)
  if not server then
    say(NO_SERVER)
    return
  end
  local params = { command = command, arguments = arguments }
  client.ask(server, 'workspace/executeCommand', params, bufnr, function(error)
    if error then
      say(error.message)
    end
  end)
end

---@type table<string, fun(words: string[], range: table): boolean?>
M.commands = {
  toggle = function()
    say(ghost.toggle() and 'ghost text is on in this buffer.' or 'ghost text is off in this buffer.')
  end,
  enable = function()
    ghost.toggle(true)
  end,
  disable = function()
    ghost.toggle(false)
  end,
  trigger = function()
    ghost.ask(true)
  end,
  snooze = function(words)
    send('midfill.snooze', { tonumber(words[1]) or 10 })
  end,
  restart = function()
    client.stop()
    vim.defer_fn(function()
      local options = require('midfill').options
      for _, bufnr in ipairs(vim.api.nvim_list_bufs()) do
        if vim.api.nvim_buf_is_loaded(bufnr) and vim.bo[bufnr].filetype ~= '' then
          client.attach(bufnr, options)
        end
      end
    end, 500)
  end,
  status = function()
    local status = client.of() and client.status or { state = 'not attached' }
    say(table.concat(vim.tbl_filter(function(part)
      return part and part ~= ''
    end, { status.state, status.model, status.message }), ', '))
  end,
  explain = function(_, range)
    return require('midfill.explain').explain(range)
  end,
  refactor = function(words, range)
    return require('midfill.explain').refactor(range, table.concat(words, ' '))
  end,
  prompt = function()
    return require('midfill.explain').prompt()
  end,
  log = function()
    vim.cmd.edit(vim.fn.fnameescape(vim.lsp.get_log_path and vim.lsp.get_log_path() or vim.lsp.log.get_filename()))
  end,
}

--- Run `:Midfill WORDS`, for the lines of its range or the caret's.
---@param words string[]
---@param first integer
---@param last integer
function M.run(words, first, last)
  local command = M.commands[words[1] or 'status']
  if command then
    local start, stop = { line = first - 1, character = 0 }, { line = last - 1, character = 0 }
    if first < last then
      stop.line = last
    end
    if command(vim.list_slice(words, 2), { start = start, ['end'] = stop }) == false then
      say(NO_SERVER)
    end
  else
    say(('there is no command %s; take one of %s.'):format(words[1], table.concat(M.names(''), ', ')))
  end
end

--- Names that begin with `head`.
---@param head string
---@return string[]
function M.names(head)
  local names = vim.tbl_filter(function(name)
    return vim.startswith(name, head)
  end, vim.tbl_keys(M.commands))
  table.sort(names)
  return names
end

return M
