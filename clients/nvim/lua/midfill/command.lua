-- `:Midfill WORD`: what can be asked for by name.
local client = require('midfill.client')
local ghost = require('midfill.ghost')
local preview = require('midfill.preview')

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

--- Ghost text off or on, in this buffer, everywhere or for a file type; nil: the other way.
local function switch(on, words)
  local options, scope = require('midfill').options, words[1]
  local where = scope == 'all' and '' or scope and ' for ' .. scope or ' in this buffer'
  local bufnrs = { vim.api.nvim_get_current_buf() }
  if scope == 'all' then
    on = on == nil and not options.auto or on == true
    options.auto = on
    ghost.clear()
  elseif scope then
    bufnrs = vim.tbl_filter(function(bufnr)
      return vim.bo[bufnr].filetype == scope
    end, vim.api.nvim_list_bufs())
    if #bufnrs == 0 and not vim.tbl_contains(vim.fn.getcompletion(scope, 'filetype'), scope) then
      say(('there is no file type %s.'):format(scope))
      return
    end
    on = ghost.toggle_type(on, scope)
  else
    on = ghost.toggle(on)
  end
  if options.renderer == 'builtin' then
    if scope == 'all' then
      vim.lsp.inline_completion.enable(on)
    else
      for _, bufnr in ipairs(bufnrs) do
        vim.lsp.inline_completion.enable(on, { bufnr = bufnr })
      end
    end
  end
  say(('ghost text is %s%s.'):format(on and 'on' or 'off', where))
end

--- Run a command of the server's in a terminal below.
local function shell(...)
  local command = client.shell(require('midfill').options, vim.list_extend({ ... }, {}))
  if not command then
    say('`cmd` does not say how to run this; it has no word `serve`.')
    return
  end
  vim.cmd('botright new')
  if vim.fn.has('nvim-0.11') == 1 then
    vim.fn.jobstart(command, { term = true })
  else
    vim.fn.termopen(command)
  end
end

---@type table<string, fun(words: string[], range: table): boolean?>
M.commands = {
  toggle = function(words)
    switch(nil, words)
  end,
  enable = function(words)
    switch(true, words)
  end,
  disable = function(words)
    switch(false, words)
  end,
  trigger = function()
    if require('midfill').options.renderer == 'builtin' then
      say("Neovim's own ghost text cannot be asked for by hand.")
    else
      ghost.ask(true)
    end
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
    local status = client.status()
    say(table.concat(vim.tbl_filter(function(part)
      return part and part ~= ''
    end, { status.state, status.model, status.message }), ', '))
  end,
  explain = function(_, range)
    return require('midfill.explain').explain(range)
  end,
  refactor = function(words, range)
    local place = { uri = vim.uri_from_bufnr(0), range = range }
    return preview.words(place, table.concat(words, ' '))
  end,
  review = preview.review,
  cancel = preview.cancel,
  prompt = function()
    return require('midfill.explain').prompt()
  end,
  log = function()
    vim.cmd.edit(vim.fn.fnameescape(vim.lsp.get_log_path and vim.lsp.get_log_path() or vim.lsp.log.get_filename()))
  end,
}

for _, name in ipairs({ 'doctor', 'models', 'stats' }) do
  M.commands[name] = function(words)
    shell(name, unpack(words))
  end
end

for _, task in ipairs(preview.TASKS) do
  M.commands[task] = function(_, range)
    return preview.task(task, range)
  end
end

--- Where ghost text can be switched: the file types that are open, and the others once one is begun.
local function scopes(head)
  local names = head == '' and {} or vim.fn.getcompletion(head, 'filetype')
  for _, bufnr in ipairs(vim.api.nvim_list_bufs()) do
    local filetype = vim.bo[bufnr].filetype
    if vim.bo[bufnr].buflisted and filetype ~= '' and not vim.tbl_contains(names, filetype) then
      names[#names + 1] = filetype
    end
  end
  return vim.list_extend(names, { 'all' })
end

--- What may follow a command.
local ARGUMENTS = {
  toggle = scopes,
  enable = scopes,
  disable = scopes,
  models = { 'check', 'list', 'pull', 'recommend' },
  snooze = { '0', '10', '30', '60' },
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
    say(('there is no command %s; take one of %s.'):format(words[1], table.concat(M.complete('', 'Midfill '), ', ')))
  end
end

--- What may stand in place of `head`, the last word of a command line, from `:Midfill` on.
---@param head string
---@param line string
---@return string[]
function M.complete(head, line)
  local words = vim.split(vim.trim(line:sub(1, #line - #head)), '%s+')
  local found = #words == 1 and vim.tbl_keys(M.commands) or #words == 2 and ARGUMENTS[words[2]] or {}
  if type(found) == 'function' then
    found = found(head)
  end
  found = vim.tbl_filter(function(name)
    return vim.startswith(name, head)
  end, found)
  table.sort(found)
  return found
end

return M
